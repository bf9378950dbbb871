// Removes what a lease made in QEMU: a pure planner of the next step, and a loop that carries it out until nothing is left.
import { setTimeout as sleep } from 'node:timers/promises'
import { VarveError } from '../../../protocol/errors.ts'
import type { QmpCaller } from '../../qmp/client.ts'
import type { BlockNode } from '../../qmp/disks.ts'
import { readInventory, type Inventory } from './inventory.ts'
import type { QmpEntry } from './entry.ts'
import type { LeaseOutcome } from '../driver.ts'
import { ClosedDoor, HANDSHAKES_LIMIT_MS } from '../nbd-door.ts'
import { ownNames } from './names.ts'
import { nbdServerListens } from './nbd-probe.ts'
import type { NodeBitmap } from './actions.ts'
import { checkpointBitmaps, ownAgents } from './plan.ts'

/** How long removing a lease's objects may take, in milliseconds. */
export const TEARDOWN_LIMIT_MS = 30_000

/** Pause before QEMU is asked again what is left, in milliseconds. */
const TEARDOWN_PAUSE_MS = 25

/** One QMP command of a teardown. */
export interface TeardownCommand {
  readonly command: string
  readonly args: Readonly<Record<string, unknown>>
}

const SERVER_STOP = 'nbd-server-stop'

/** The driver of a node that shows a disk as it was, over the filter of its copy job. */
const SNAPSHOT_ACCESS = 'snapshot-access'

const removeNode = ({ node }: BlockNode): TeardownCommand => ({ command: 'blockdev-del', args: { 'node-name': node } })

const removeBitmap = ({ node, name }: NodeBitmap): TeardownCommand => ({
  command: 'block-dirty-bitmap-remove',
  args: { node, name },
})

/** What is to be removed; the NBD server only where it listens on `socketPath` and serves nobody else. */
export interface TeardownTarget {
  readonly exports: ReadonlySet<string>
  readonly jobs: ReadonlySet<string>
  readonly nodes: ReadonlySet<string>
  readonly socketPath: string | null
  readonly bitmaps: (nodes: readonly BlockNode[]) => readonly NodeBitmap[]
}

/** This host's agents, and that of the base: a machine that came from another host brought that one's bitmaps. */
const agentsOf = ({ baseAgent, ...own }: QmpEntry): readonly string[] =>
  baseAgent === null ? ownAgents(own) : [...ownAgents(own), baseAgent]

/**
 * What a committed lease leaves useless: older checkpoints of this host, and with the base's all of its agent's. A backup of
 * that agent's may have given way to the migration, during which QEMU held its bitmaps.
 */
const uselessAfterCommit = (
  entry: QmpEntry,
  nodes: readonly BlockNode[],
  keep: ReadonlySet<string>,
): readonly NodeBitmap[] => {
  const ended = entry.baseLease !== null && !keep.has(entry.baseLease)
  const agents = ended ? agentsOf(entry) : ownAgents(entry)
  return checkpointBitmaps(nodes, agents, (lease) => lease !== entry.id && !keep.has(lease))
}

const nodesOf = ({ scratchNode, access, push }: QmpEntry['disks'][number]): string[] => [
  scratchNode,
  ...(access === null ? [] : [access.node]),
  ...(push === undefined ? [] : [push.endNode]),
]

/** Transfer bitmaps on disks' own nodes: the lease's, and after a commit what its base's agent left when the machine moved. */
const transferBitmaps = (
  entry: QmpEntry,
  nodes: readonly BlockNode[],
  agents: readonly string[],
): readonly NodeBitmap[] => {
  const own = agents.map((agent) => ownNames(agent))
  const isOver = (name: string): boolean => name === entry.transfer || own.some((names) => names.isTransfer(name))
  return nodes
    .filter(({ node, readOnly }) => node !== '' && !readOnly)
    .flatMap(({ node, bitmaps }) => bitmaps.filter(({ name }) => isOver(name)).map(({ name }) => ({ node, name })))
}

/**
 * Everything an entry's lease made, and the bitmaps that its outcome makes useless: older checkpoints after a commit,
 * the new one after a failure. `keep` names leases whose checkpoints others need.
 */
export const leaseTarget = (entry: QmpEntry, outcome: LeaseOutcome, keep: ReadonlySet<string>): TeardownTarget => ({
  exports: new Set([...entry.disks.map(({ exportId }) => exportId), ...entry.older.exports]),
  jobs: new Set(entry.disks.map(({ job }) => job)),
  nodes: new Set([...entry.disks.flatMap(nodesOf), ...entry.older.nodes]),
  // QEMU writes to a server of ours
  socketPath: entry.mode === 'push' ? null : entry.socketPath,
  bitmaps: (nodes) =>
    outcome === 'committed'
      ? [...transferBitmaps(entry, nodes, agentsOf(entry)), ...uselessAfterCommit(entry, nodes, keep)]
      : [
          ...transferBitmaps(entry, nodes, []),
          ...checkpointBitmaps(nodes, ownAgents(entry), (lease) => lease === entry.id),
        ],
})

/**
 * The commands that come next, in the order exports, snapshot-access nodes, jobs, nodes, server, bitmaps; empty when nothing is
 * left. A job that ends while an export of its snapshot is being removed makes QEMU 7.2 stand still for good, and its guest too.
 */
export const nextTeardown = (
  target: TeardownTarget,
  inventory: Inventory,
  serverListens: boolean,
): readonly TeardownCommand[] => {
  const exports = inventory.exports.filter(({ id }) => target.exports.has(id))
  if (exports.length > 0) return exports.map(({ id }) => ({ command: 'block-export-del', args: { id, mode: 'hard' } }))
  const accesses = inventory.nodes.filter(({ node, driver }) => driver === SNAPSHOT_ACCESS && target.nodes.has(node))
  if (accesses.length > 0) return accesses.map(removeNode)
  const jobs = inventory.jobs.filter(({ id }) => target.jobs.has(id))
  if (jobs.length > 0) {
    return jobs.map(({ id, status }) =>
      status === 'concluded'
        ? { command: 'job-dismiss', args: { id } }
        : { command: 'block-job-cancel', args: { device: id, force: true } },
    )
  }
  const nodes = inventory.nodes.filter(({ node }) => target.nodes.has(node))
  if (nodes.length > 0) return nodes.map(removeNode)
  // it may have to wait for clients, and nothing that costs the guest anything may wait with it
  const foreign = inventory.exports.some(({ type }) => type === 'nbd')
  if (serverListens && !foreign) return [{ command: SERVER_STOP, args: {} }]
  return target.bitmaps(inventory.nodes).map(removeBitmap)
}

/**
 * Removes the target from QEMU. A command that fails is judged by what is left afterwards: QEMU's error, or
 * QMP_TIMEOUT, is thrown when something is still there after TEARDOWN_LIMIT_MS. `refuse` is called before each round; a client
 * that stays keeps the server only as long as a handshake may take.
 */
export const tearDown = async (
  client: QmpCaller,
  target: TeardownTarget,
  refuse: () => Promise<void> = () => Promise.resolve(),
  handshakesMs = HANDSHAKES_LIMIT_MS,
): Promise<void> => {
  const deadlineMs = performance.now() + TEARDOWN_LIMIT_MS
  const before = new BeforeStop(handshakesMs)
  for (;;) {
    const { commands, refusal } = await inTurn(client, () => round(client, target, refuse, before))
    if (commands.length === 0) return
    if (refusal !== null) await sleep(TEARDOWN_PAUSE_MS)
    if (performance.now() <= deadlineMs) continue
    const left = commands.map(({ command }) => command).join(', ')
    throw refusal ?? new VarveError('QMP_TIMEOUT', `QEMU did not finish within ${TEARDOWN_LIMIT_MS} ms: ${left}`)
  }
}

interface Round {
  /** What was still there; empty when nothing was. */
  readonly commands: readonly TeardownCommand[]
  readonly refusal: VarveError | null
}

/** The door before the server of one teardown. */
class BeforeStop {
  readonly #limitMs: number
  #door: ClosedDoor | null = null

  constructor(limitMs: number) {
    this.#limitMs = limitMs
  }

  /** Whether nobody is shaking hands with the server, or can be from now on: QEMU would wait for them, and its guest with it. */
  async isClear(socketPath: string): Promise<boolean> {
    this.#door ??= await ClosedDoor.close(socketPath)
    return this.#door.isClear(this.#limitMs)
  }
}

const round = async (
  client: QmpCaller,
  target: TeardownTarget,
  refuse: () => Promise<void>,
  before: BeforeStop,
): Promise<Round> => {
  await refuse()
  const { socketPath } = target
  const serverListens = socketPath !== null && (await nbdServerListens(socketPath))
  const commands = nextTeardown(target, await readInventory(client), serverListens)
  const stops = commands.some(({ command }) => command === SERVER_STOP)
  if (stops && socketPath !== null && !(await before.isClear(socketPath)))
    return { commands, refusal: notLeft(socketPath) }
  return { commands, refusal: await attempt(client, commands) }
}

const notLeft = (socketPath: string): VarveError => {
  const sentence = `the NBD server on ${socketPath} still has clients, and QEMU cannot end it before they have left`
  return new VarveError('QMP_TIMEOUT', sentence, { details: { path: socketPath } })
}

/** The last of those that wait for their turn on a connection. */
const turns = new WeakMap<QmpCaller, Promise<void>>()

/** One round at a time: a look for a lease's server can be a client of it, for which a stop by another would wait. */
const inTurn = async <T>(client: QmpCaller, work: () => Promise<T>): Promise<T> => {
  const before = turns.get(client)
  const { promise, resolve } = Promise.withResolvers<void>()
  turns.set(client, promise)
  try {
    await before
    return await work()
  } finally {
    resolve()
  }
}

/** Sends the commands in sequence; QEMU's last refusal, if any. */
const attempt = async (client: QmpCaller, commands: readonly TeardownCommand[]): Promise<VarveError | null> => {
  let refusal: VarveError | null = null
  for (const { command, args } of commands) {
    try {
      await client.execute(command, args)
    } catch (error) {
      if (!(error instanceof VarveError) || error.code !== 'QMP_ERROR') throw error
      refusal = error
    }
  }
  return refusal
}
