import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { beforeEnd } from './before-end.ts'
import { startProcess, type OwnProcess } from './child-app.ts'
import { freePorts, redisServer, startNode, until, type RedisNode } from './redis-cluster.ts'

/** A master and its replica, watched by three sentinels. */
export interface RedisSentinel {
  /** The name by which the sentinels know the master. */
  name: string
  ports: readonly number[]
  master: RedisNode
  replica: RedisNode
  stop (): Promise<void>
}

/** How long a master may be silent before a sentinel treats it as dead, in milliseconds. */
export const downAfter = 1500

/** Starts a master, a replica and three sentinels. Resolves once the sentinels know each other and the replica is up to date. */
export async function startSentinel (): Promise<RedisSentinel> {
  const name = 'tokens'
  const [masterPort = 0, replicaPort = 0, ...ports] = await freePorts(5)
  const master = await startNode(masterPort, [])
  const replica = await startNode(replicaPort, ['--replicaof', '127.0.0.1', String(masterPort)])
  const folder = mkdtempSync(join(tmpdir(), 'redis-sentinel-'))
  const forget = beforeEnd(() => { rmSync(folder, { recursive: true, force: true }) })
  const sentinels: OwnProcess[] = []
  const stop = async (): Promise<void> => {
    await Promise.all([...sentinels.map((sentinel) => sentinel.stop()), master.node.kill(), replica.node.kill()])
    for (const used of [folder, master.folder, replica.folder]) rmSync(used, { recursive: true, force: true })
    forget()
  }
  try {
    for (const port of ports) {
      // Each sentinel needs a file of its own, because it rewrites its configuration.
      const file = join(folder, `${port}.conf`)
      writeFileSync(file, [
        `port ${port}`, 'bind 127.0.0.1', `dir ${folder}`,
        `sentinel monitor ${name} 127.0.0.1 ${masterPort} 2`,
        `sentinel down-after-milliseconds ${name} ${downAfter}`,
        `sentinel failover-timeout ${name} 10000`,
        ''
      ].join('\n'))
      const sentinel = startProcess(redisServer(), [file, '--sentinel'])
      sentinels.push(sentinel)
      await sentinel.printed(/\+monitor/)
    }
    await Promise.all(ports.map(async (port) => {
      const client = new Redis({ host: '127.0.0.1', port })
      client.on('error', () => {})
      try {
        await until('sentinels that know each other and the replica', async () => {
          const told = await client.call('SENTINEL', 'MASTER', name)
          const words = Array.isArray(told) ? told.map(String) : []
          const valueOf = (word: string): string | undefined => words[words.indexOf(word) + 1]
          return valueOf('num-other-sentinels') === '2' && valueOf('num-slaves') === '1'
        })
      } finally {
        client.disconnect()
      }
    }))
    await until('a replica in step', async () => /master_link_status:up/.test(await replica.node.client.info('replication')))
  } catch (error) {
    await stop()
    throw error
  }
  return { name, ports, master: master.node, replica: replica.node, stop }
}
