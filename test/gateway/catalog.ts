// Catalog rows that tests of the gateway begin with: agents, machines, jobs and committed restore points.
import { announced } from '../support/announced.ts'
import type { Tenant } from '../../gateway/catalog/tenants.ts'
import type { MachineRow } from '../../gateway/catalog/machines.ts'
import type { Begun } from '../../gateway/catalog/jobs.ts'
import { randomBytes, randomUUID } from 'node:crypto'
import { EMPTY_STATE, encodeState } from '../../gateway/chains/image-builder.ts'
import type { Catalog } from '../../gateway/catalog/catalog.ts'
import type { BeginDisk } from '../../gateway/catalog/reads.ts'
import type { ReadReason } from '../../protocol/backup.ts'
import { VarveError } from '../../protocol/errors.ts'
import type { Covers, PlanChange } from '../../protocol/plans.ts'

/** An enrolled agent's id. */
export const addAgent = async (catalog: Catalog, tenant: Tenant, host = 'host'): Promise<string> => {
  const enrolment = randomUUID()
  const agent = randomUUID()
  await catalog.enrolments.add({ id: enrolment, tenant: tenant.id, nowMs: 1, expiresMs: 2 ** 50 })
  const publicKey = randomBytes(32).toString('base64url')
  await catalog.agents.enrol({ enrolment, agent, host, publicKey, nowMs: 1 })
  return agent
}

export const revokeAgent = async (catalog: Catalog, tenant: Tenant, id: string): Promise<void> => {
  await catalog.agents.revoke({ tenant: tenant.id, id, nowMs: 2 })
}

/** Declares a machine for an agent. */
export const addMachine = async (
  catalog: Catalog,
  tenant: Tenant,
  agent: string,
  name: string,
): Promise<MachineRow> => {
  await catalog.machines.declare({ tenant: tenant.id, agent, machines: [announced(name)], nowMs: 1 })
  return await catalog.machines.get({ tenant: tenant.id, name })
}

/** Announces all machines of an agent, as it does when it connects: those that are not named are gone. */
export const declareMachines = async (
  catalog: Catalog,
  { tenant, agent, nowMs }: { tenant: Tenant; agent: string; nowMs: number },
  names: readonly string[],
): Promise<void> => {
  const machines = names.map((name) => announced(name))
  await catalog.machines.declare({ tenant: tenant.id, agent, machines, nowMs })
}

/** Makes a plan, for all machines unless it covers others, or changes what is named of it. */
export const setPlan = async (
  catalog: Catalog,
  tenant: Tenant,
  name: string,
  rules: Omit<PlanChange, 'name' | 'covers'>,
  covers: Partial<Covers> = { others: true },
): Promise<void> => {
  await catalog.plans.apply({ tenant: tenant.id, plans: [{ ...rules, name, covers }], merge: true })
}

/** Gives a machine to another agent. */
export const assignMachine = async (
  catalog: Catalog,
  tenant: Tenant,
  agent: string,
  name: string,
): Promise<MachineRow> => {
  await catalog.machines.assign({ tenant: tenant.id, name, agent })
  return await catalog.machines.get({ tenant: tenant.id, name })
}

/** Opens a job of a machine; its id. */
export const startJob = async (
  catalog: Catalog,
  tenant: Tenant,
  machine: MachineRow,
  { full = false, compare = false, nowMs = 10 }: { full?: boolean; compare?: boolean; nowMs?: number } = {},
): Promise<string> => {
  const id = randomUUID()
  const { name, agent } = machine
  await catalog.jobs.start({ id, tenant: tenant.id, machine: name, agent, subject: 'test', full, compare, nowMs })
  return id
}

export const BEGUN = {
  timeMs: 100,
  consistency: 'crash',
  note: null,
  configuration: '{}',
  leftOut: [],
  checkpoint: true,
  missing: [],
} satisfies Begun

/** A disk that is read in full, as `backup.begin` announces it. */
export const fullDisk = (name: string, size: number, reason: ReadReason = 'first'): BeginDisk => ({
  name,
  size,
  kind: 'full',
  reason,
  base: null,
  evidence: '',
  comparedChunks: 0,
})

/** A disk of which only the changes to the base's image of `base` are read. */
export const incrementalDisk = (name: string, size: number, base = name): BeginDisk => ({
  ...fullDisk(name, size),
  kind: 'incremental',
  reason: 'bitmap',
  base,
})

export const beginJob = async (
  catalog: Catalog,
  job: { id: string; agent: string },
  disks: readonly BeginDisk[],
  begun: Partial<Begun> = {},
): Promise<void> => {
  const state = encodeState(EMPTY_STATE)
  const refusal = await catalog.jobs.begin({
    job: job.id,
    agent: job.agent,
    begun: { ...BEGUN, ...begun },
    disks,
    state,
    nowMs: 2 ** 50,
  })
  if (refusal !== null) throw new VarveError(refusal.code, refusal.message)
}

/** Marks a disk of a job as uploaded whole, without its chunks. */
export const finishDisk = async (
  catalog: Catalog,
  job: { id: string; tenant: Tenant },
  disk: string,
  root: Uint8Array | null = null,
): Promise<void> => {
  await catalog.records.commit({
    tenant: job.tenant.id,
    machine: null,
    ids: new Uint8Array(0),
    records: [],
    packs: [],
    upload: { job: job.id, disk },
    progress: { position: 1, state: new Uint8Array(0), bytesSent: 5, changedBytes: 7, finished: true, root },
  })
}

/** A committed restore point, with one disk unless it has others by name, without its chunks; its id. */
export const addPoint = async (
  catalog: Catalog,
  tenant: Tenant,
  machine: MachineRow,
  options: {
    size?: number
    timeMs?: number
    nowMs?: number
    root?: Uint8Array | null
    names?: readonly string[]
    configuration?: string
    checkpoint?: boolean
  } = {},
): Promise<string> => {
  const { size = 4096, timeMs = 100, root = null, names = ['vda'], configuration = '{}', checkpoint = true } = options
  // no point is older than its job
  const { nowMs = Math.min(20, timeMs) } = options
  const job = { id: await startJob(catalog, tenant, machine, { full: true, nowMs }), agent: machine.agent, tenant }
  const disks = names.map((name) => fullDisk(name, size, 'requested'))
  await beginJob(catalog, job, disks, { timeMs, configuration, checkpoint })
  for (const name of names) await finishDisk(catalog, job, name, root)
  await catalog.jobs.commit({
    job: job.id,
    agent: machine.agent,
    bytesRead: size,
    nowMs: nowMs + 1,
    manifest: new Uint8Array(32),
    lockedUntilMs: null,
  })
  return job.id
}
