import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { beforeEnd } from './before-end.ts'
import { startProcess, type OwnProcess } from './child-app.ts'
import { findRedis } from './redis-server.ts'

/** A Redis that belongs to a cluster or is watched by sentinels. */
export interface RedisNode {
  port: number
  pid: number
  /** A connection of the test to this node. */
  client: Redis
  /** Ends the node at once, like a machine that fails. */
  kill (): Promise<void>
}

/** Three masters, each with a replica, on loopback and without persistence. */
export interface RedisCluster {
  ports: readonly number[]
  nodes: readonly RedisNode[]
  /** The node that serves the slot of a key, and its replicas. */
  masterOf (key: string): Promise<{ master: RedisNode, replicas: readonly RedisNode[] }>
  stop (): Promise<void>
}

/** How long a node may be silent before the others treat it as dead, in milliseconds. */
export const nodeTimeout = 2000

/**
 * Starts a cluster of six nodes. Resolves once every slot is served and every replica is up to date. It ends with this process
 * at the latest. Tries other ports if another program takes one of the ports first.
 */
export async function startCluster (): Promise<RedisCluster> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await startClusterOn(await freePorts(12))
    } catch (error) {
      if (attempt === 3) throw error
    }
  }
}

async function startClusterOn (free: readonly number[]): Promise<RedisCluster> {
  // Each node has a second port for the other nodes, the bus. By default that is its port plus 10,000, which may be taken.
  const members = free.slice(0, 6).map((port, index) => ({ port, bus: free[index + 6] ?? 0 }))
  const ports = members.map(({ port }) => port)
  const folders: string[] = []
  const nodes: RedisNode[] = []
  const stop = async (): Promise<void> => {
    await Promise.all(nodes.map((node) => node.kill()))
    for (const folder of folders) rmSync(folder, { recursive: true, force: true })
  }
  try {
    for (const { port, bus } of members) {
      const started = await startNode(port, [
        '--cluster-enabled', 'yes', '--cluster-port', String(bus), '--cluster-announce-ip', '127.0.0.1', '--cluster-node-timeout', String(nodeTimeout), '--cluster-replica-validity-factor', '0'
      ])
      folders.push(started.folder)
      nodes.push(started.node)
    }
    const cli = startProcess(join(redisServer(), '../redis-cli'), [
      '--cluster', 'create', ...members.map(({ port, bus }) => `127.0.0.1:${port}@${bus}`), '--cluster-replicas', '1', '--cluster-yes'
    ])
    await cli.printed(/All 16384 slots covered/)
    await cli.stop('SIGTERM')
    await until('a cluster that is whole', async () => {
      const seen = await Promise.all(nodes.map(async ({ client }) => [String(await client.cluster('INFO')), await client.info('replication')]))
      return seen.every(([cluster = '', replication = '']) => cluster.includes('cluster_state:ok') && cluster.includes('cluster_known_nodes:6') &&
        (/role:master\r\nconnected_slaves:1/.test(replication) || /master_link_status:up/.test(replication)))
    })
  } catch (error) {
    await stop()
    throw error
  }
  return {
    ports,
    nodes,
    stop,
    async masterOf (key) {
      const slot = Number(await anyAlive(nodes).client.cluster('KEYSLOT', key))
      const table: unknown = await anyAlive(nodes).client.cluster('SLOTS')
      for (const row of listOf(table)) {
        const [first, last, ...members] = listOf(row)
        if (slot < Number(first) || slot > Number(last)) continue
        const [master, ...replicas] = members.map((member) => nodes.find(({ port }) => port === Number(listOf(member)[1])))
        if (master === undefined) break
        return { master, replicas: replicas.filter((node) => node !== undefined) }
      }
      throw new Error(`Nobody serves slot ${slot}`)
    }
  }
}

/** Starts one Redis in a folder of its own. Resolves once it answers. */
export async function startNode (port: number, args: readonly string[]): Promise<{ node: RedisNode, folder: string }> {
  const folder = mkdtempSync(join(tmpdir(), 'redis-node-'))
  const forget = beforeEnd(() => { rmSync(folder, { recursive: true, force: true }) })
  const server: OwnProcess = startProcess(redisServer(), [
    '--port', String(port), '--bind', '127.0.0.1', '--dir', folder, '--save', '', '--appendonly', 'no', '--repl-diskless-sync-delay', '0', ...args
  ])
  await server.printed(/Ready to accept connections/)
  const client = new Redis({ host: '127.0.0.1', port, retryStrategy: () => 200 })
  client.on('error', () => {})
  const node: RedisNode = {
    port,
    pid: server.pid,
    client,
    async kill () {
      client.disconnect()
      await server.stop('SIGKILL')
      forget()
    }
  }
  return { node, folder }
}

/** Finds ports of loopback that are free at the moment. */
export async function freePorts (count: number): Promise<number[]> {
  const servers: Server[] = []
  const ports: number[] = []
  while (ports.length < count) {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    servers.push(server)
    const address = server.address()
    if (typeof address === 'object' && address !== null) ports.push(address.port)
  }
  await Promise.all(servers.map(async (server) => {
    server.close()
    await once(server, 'close')
  }))
  return ports
}

/** Waits until a condition holds. Rejects after half a minute. */
export async function until (what: string, holds: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 30_000
  while (!await holds().catch(() => false)) {
    if (performance.now() > deadline) throw new Error(`Waited in vain for ${what}`)
    await sleep(50)
  }
}

/** The program of every node. */
export function redisServer (): string {
  const program = findRedis()
  if (program === null) throw new Error('No redis-server on PATH: install Redis, or ask findRedis() first')
  return program
}

function anyAlive (nodes: readonly RedisNode[]): RedisNode {
  const node = nodes.find(({ client }) => client.status === 'ready')
  if (node === undefined) throw new Error('No node is alive')
  return node
}

function listOf (value: unknown): unknown[] {
  return Array.isArray(value) ? value : []
}
