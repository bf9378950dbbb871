// The state of a running agent, as it tells it to commands on its host.
import * as v from 'valibot'
import { VERSION } from '../../protocol/host/version.ts'
import { BACKUP_STEPS, type BackupStep } from '../../protocol/backup.ts'
import type { JournalEntry } from '../drivers/journal.ts'
import { freeBytes, useOf } from '../drivers/scratch.ts'
import { targetOf } from '../leases/holder.ts'
import type { TargetLeases } from '../leases/target-leases.ts'
import type { LinkState } from './link-record.ts'
import type { Traffic } from './traffic.ts'

const count = v.pipe(v.number(), v.minValue(0))
const time = v.nullable(v.number())

/** Times are milliseconds since 1970, sizes are bytes. */
export const agentStatus = v.object({
  version: v.string(),
  pid: v.number(),
  startedMs: v.number(),
  /** The connection to the gateway: since when it is so, how often it came back, and why it was away last. */
  link: v.object({
    connected: v.boolean(),
    sinceMs: time,
    reconnects: count,
    lastError: v.nullable(v.object({ code: v.string(), message: v.string(), timeMs: v.number() })),
  }),
  /** Backups of this host, also those whose lease is left to be settled, and leases that other programs hold. */
  leases: v.array(
    v.object({
      machine: v.string(),
      job: v.string(),
      /** Who holds it, and until when unless it is renewed; null for a backup. */
      target: v.optional(v.nullable(v.string()), null),
      expiresMs: v.optional(time, null),
      driver: v.string(),
      /** False for one that is only left to be settled. */
      running: v.boolean(),
      sinceMs: time,
      /** What it does now; null where that is not known. */
      step: v.nullable(v.picklist(BACKUP_STEPS)),
      bytesRead: count,
      bytesSent: count,
      /** What its scratch images take, and what they may take at most; null for a lease without. */
      scratch: v.nullable(v.object({ usedBytes: count, limitBytes: count })),
    }),
  ),
  /** The file system of the scratch folder; null where it cannot be looked at. */
  scratch: v.nullable(v.object({ folder: v.string(), freeBytes: count, reserveBytes: count })),
  traffic: v.object({
    bytesRead: count,
    bytesSent: count,
    readBytesPerSecond: count,
    sentBytesPerSecond: count,
  }),
  /** Backups that ended since the agent started. */
  backups: v.object({ committed: count, failed: count }),
})
export type AgentStatus = v.InferOutput<typeof agentStatus>

/** A backup under way. */
export interface RunningBackup {
  readonly job: string
  readonly machine: string
  readonly driver: string
  readonly sinceMs: number
  readonly step: BackupStep | null
  readonly bytesRead: number
  readonly bytesSent: number
}

export interface StatusParts {
  readonly link: () => LinkState
  readonly running: () => readonly RunningBackup[]
  /** The lease that another program holds on a machine; null for none. */
  readonly leaseOf: TargetLeases['of']
  readonly ended: () => AgentStatus['backups']
  /** Leases of the journal. */
  readonly journal: { list(): Promise<readonly JournalEntry[]> }
  readonly traffic: Traffic
  readonly stateFolder: string
  readonly reserveBytes: number
}

/** The scratch folder of a lease, where its driver makes one. */
const scratchFolderOf = ({ payload }: JournalEntry): string | null => {
  const { scratchFolder } = payload as { readonly scratchFolder?: unknown }
  return typeof scratchFolder === 'string' ? scratchFolder : null
}

/** The agent as it is now; never rejects for what cannot be looked at. */
export const lookAtAgent = async (parts: StatusParts, startedMs: number): Promise<AgentStatus> => {
  const { stateFolder, reserveBytes, traffic } = parts
  const free = await freeBytes(stateFolder).catch(() => null)
  const running = new Map(parts.running().map((one) => [one.job, one]))
  const entries = await parts.journal.list().catch(() => [])
  const scratchOf = async (entry: JournalEntry): Promise<AgentStatus['leases'][number]['scratch']> => {
    const folder = scratchFolderOf(entry)
    return folder === null || free === null ? null : await useOf(folder, { freeBytes: free, reserveBytes })
  }
  const held = entries.map(async (entry): Promise<AgentStatus['leases'][number]> => {
    const { name: machine, driver } = entry.machine
    const known = running.get(entry.id)
    const lease = parts.leaseOf(machine)
    const expiresMs = lease?.lease === entry.id ? lease.expiresMs : null
    const whose = { target: targetOf(entry.agentId), expiresMs }
    const left = { job: entry.id, machine, driver, sinceMs: null, step: null, bytesRead: 0, bytesSent: 0 }
    const isRunning = known !== undefined || expiresMs !== null
    return { ...(known ?? left), ...whose, running: isRunning, scratch: await scratchOf(entry) }
  })
  const journalled = new Set(entries.map(({ id }) => id))
  const waiting = [...running.values()].filter(({ job }) => !journalled.has(job))
  return {
    version: VERSION,
    pid: process.pid,
    startedMs,
    link: parts.link(),
    leases: [
      ...(await Promise.all(held)),
      ...waiting.map((one) => ({ ...one, target: null, expiresMs: null, running: true, scratch: null })),
    ],
    scratch: free === null ? null : { folder: stateFolder, freeBytes: free, reserveBytes },
    traffic: { ...traffic.totals, ...traffic.rates },
    backups: parts.ended(),
  }
}
