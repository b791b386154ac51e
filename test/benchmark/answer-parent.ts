import type { Profiler } from 'node:inspector'
import { Session } from 'node:inspector/promises'
import type { Ask, Usage } from './setup.ts'

/** Answers what the parent asks of this process over IPC, and ends with it. */
export function answerParent (started: object, connections: () => number = () => 0): void {
  const inspector = new Session()
  const answer = async (ask: Ask): Promise<void> => {
    let profile: Usage['profile'] = []
    if (ask === 'profile') {
      inspector.connect()
      await inspector.post('Profiler.enable')
      await inspector.post('Profiler.start')
    }
    if (ask === 'profiled') profile = summarize((await inspector.post('Profiler.stop')).profile)
    const { user, system } = process.cpuUsage()
    process.send?.({ cpu: user + system, connections: connections(), profile })
  }
  process.on('message', (ask: Ask) => { answer(ask) })
  process.on('disconnect', () => process.exit())
  process.send?.(started)
}

function summarize ({ nodes, samples = [], timeDeltas = [] }: Profiler.Profile): Usage['profile'] {
  const places = new Map(nodes.map(({ id, callFrame: { functionName, url, lineNumber } }) => {
    const file = url.replace(/^.*\/(?:node_modules\/(?!\.cache)|bench-[^/]*\/)/, '')
    return [id, `${functionName === '' ? 'anonymous' : functionName} ${file === '' ? '' : `${file}:${lineNumber + 1}`}`.trim()] as const
  }))
  const times = new Map<string, number>()
  for (const [index, id] of samples.entries()) {
    const place = places.get(id) ?? ''
    // The last is the work of the profiler itself.
    if (place !== '(idle)' && place !== 'dispatch') times.set(place, (times.get(place) ?? 0) + (timeDeltas[index] ?? 0))
  }
  const all = [...times.values()].reduce((sum, time) => sum + time, 0)
  return [...times].map(([place, time]) => ({ place, share: time / all })).sort((a, b) => b.share - a.share).slice(0, 15)
}
