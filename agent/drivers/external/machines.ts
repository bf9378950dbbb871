// The machines whose leases others hold, beside those of the configuration. Pure.

import { MACHINES_MAX } from '../../../protocol/limits.ts'
import type { MachineConfig } from '../driver.ts'
import { EXTERNAL_DRIVER, externalMachine } from './entry.ts'

export const externalConfig = (name: string): MachineConfig => ({ ...externalMachine(name), exclude: [], attach: [] })

/** Whether it is one of them. */
export const isExternal = ({ driver }: Pick<MachineConfig, 'driver'>): boolean => driver === EXTERNAL_DRIVER

/** The configuration with these machines; one that the configuration names is its own, and no more than an agent takes. */
export const withExternal = <C extends { readonly machines: readonly MachineConfig[] }>(
  config: C,
  names: readonly string[],
): C => {
  const known = new Set(config.machines.map(({ name }) => name))
  const added = names.filter((name) => !known.has(name)).map(externalConfig)
  return { ...config, machines: [...config.machines, ...added].slice(0, Math.max(MACHINES_MAX, known.size)) }
}
