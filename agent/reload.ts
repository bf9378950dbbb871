// Which changes of a reloaded configuration a running agent applies, and which need a restart. Pure.
import type { AgentConfig } from './config.ts'
import type { MachineConfig } from './drivers/driver.ts'

/** Keys that are read only at the start. */
const AT_START = [
  'gateway',
  'insecure',
  'state',
  'bandwidth',
  'scratch_reserve',
  'freeze_limit',
  'metrics_listen',
] as const

/** Keys that are applied at once. */
const AT_ONCE = ['ca', 'relay', 'log_level', 'discover', 'restore'] as const

export interface Reload {
  /** The configuration in effect from now on. */
  readonly config: AgentConfig
  /** Machines to attach to and to detach from their drivers. */
  readonly started: readonly MachineConfig[]
  readonly stopped: readonly MachineConfig[]
  /** The gateway's certificate must be checked again. */
  readonly reconnects: boolean
  /** What was applied, and what was not with the reason, for the log. */
  readonly taken: readonly string[]
  readonly later: readonly string[]
  /** Machines stay as they are until a backup has ended: the same is to be planned again then. */
  readonly waits: boolean
}

const same = (one: unknown, other: unknown): boolean => JSON.stringify(one) === JSON.stringify(other)

/** Compares the configuration in effect with the one read; a machine that `isBusy` reports as being backed up stays unchanged. */
export const planReload = (now: AgentConfig, read: AgentConfig, isBusy: (machine: string) => boolean): Reload => {
  const later: string[] = AT_START.filter((key) => !same(now[key], read[key])).map((key) => `${key}: after a restart`)
  const taken: string[] = AT_ONCE.filter((key) => !same(now[key], read[key]))
  const machines: MachineConfig[] = []
  let waits = false
  const started: MachineConfig[] = []
  const stopped: MachineConfig[] = []
  const busy = (machine: MachineConfig): void => {
    machines.push(machine)
    waits = true
    later.push(`machine ${machine.name}: after its backup`)
  }
  for (const old of now.machines) {
    const fresh = read.machines.find(({ name }) => name === old.name)
    if (same(old, fresh)) machines.push(old)
    else if (isBusy(old.name)) busy(old)
    else {
      taken.push(`machine ${old.name}`)
      if (fresh !== undefined) machines.push(fresh)
      if (fresh?.address === old.address && fresh.driver === old.driver) continue
      stopped.push(old)
      if (fresh !== undefined) started.push(fresh)
    }
  }
  const addresses = new Set(machines.map(({ address }) => address))
  for (const fresh of read.machines) {
    if (now.machines.some(({ name }) => name === fresh.name)) continue
    // one that replaces a machine whose backup still runs
    if (addresses.has(fresh.address)) {
      waits = true
      later.push(`machine ${fresh.name}: after the backup of the machine that it replaces`)
    } else {
      taken.push(`machine ${fresh.name}`)
      machines.push(fresh)
      started.push(fresh)
    }
  }
  const kept = Object.fromEntries(AT_START.map((key) => [key, now[key]]))
  const reconnects = taken.includes('ca')
  return { config: { ...read, ...kept, machines }, started, stopped, reconnects, taken, later, waits }
}
