const running = new Set<() => void>()
const endAll = (): void => { for (const end of running) end() }
const interrupted = (signal: NodeJS.Signals): void => {
  endAll()
  process.off('SIGTERM', interrupted).off('SIGINT', interrupted)
  process.kill(process.pid, signal)
}

/** Runs `cleanUp` when this process ends, in whatever way. Returns a function that cancels it. */
export function beforeEnd (cleanUp: () => void): () => void {
  if (running.size === 0) process.on('exit', endAll).on('SIGTERM', interrupted).on('SIGINT', interrupted)
  running.add(cleanUp)
  return () => {
    running.delete(cleanUp)
    if (running.size === 0) process.off('exit', endAll).off('SIGTERM', interrupted).off('SIGINT', interrupted)
  }
}
