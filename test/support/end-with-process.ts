/**
 * Runs `end` when this process ends, by itself or by a signal, whichever comes first; returns what takes that back.
 */
export function endWithProcess (end: () => void): () => void {
  const interrupted = (signal: NodeJS.Signals): void => {
    takeBack()
    end()
    process.kill(process.pid, signal)
  }
  const takeBack = (): void => {
    process.off('exit', end).off('SIGTERM', interrupted).off('SIGINT', interrupted)
  }
  process.on('exit', end).on('SIGTERM', interrupted).on('SIGINT', interrupted)
  return takeBack
}
