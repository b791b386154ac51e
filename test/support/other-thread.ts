import { setImmediate } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import type { Test } from 'tap'

const program = `
const { createServer } = require('node:http')
const { parentPort, workerData: { signals, early, late } } = require('node:worker_threads')
const server = createServer((request, response) => {
  request.resume().on('end', async () => {
    if (early !== '') response.write(early)
    Atomics.store(signals, 0, 1)
    await Atomics.waitAsync(signals, 1, 0).value
    response.end(late, () => {
      Atomics.store(signals, 2, 1)
      Atomics.notify(signals, 2)
    })
  })
})
server.listen(0, '127.0.0.1', () => parentPort.postMessage(server.address().port))
`

/** A server in a thread of its own, which answers while the thread of the test is blocked. */
export interface OtherThread {
  url: string
  /** Resolves once a request has arrived. */
  asked (): Promise<void>
  /** Lets the server answer, and blocks this thread meanwhile and for the given number of milliseconds after that. */
  answerWhileBlocked (milliseconds: number): void
}

/** Starts a server that answers one request. It sends `early` at once, with the head unless `early` is empty, and `late` when the test says so. */
export async function startOtherThread (t: Test, { early = '', late }: { early?: string, late: string }): Promise<OtherThread> {
  const signals = new Int32Array(new SharedArrayBuffer(16))
  const worker = new Worker(program, { eval: true, workerData: { signals, early, late } })
  t.teardown(() => worker.terminate())
  const port = await new Promise((resolve, reject) => { worker.once('message', resolve).once('error', reject) })
  return {
    url: `http://127.0.0.1:${String(port)}/`,
    async asked () {
      while (Atomics.load(signals, 0) === 0) await setImmediate()
    },
    answerWhileBlocked (milliseconds) {
      Atomics.store(signals, 1, 1)
      Atomics.notify(signals, 1)
      Atomics.wait(signals, 2, 0)
      // Nothing wakes this wait: it ends by its timeout.
      Atomics.wait(signals, 3, 0, milliseconds)
    }
  }
}
