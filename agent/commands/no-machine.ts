// The error for a machine that there is not.
import { VarveError } from '../../protocol/errors.ts'
import { orElse } from '../../protocol/nearest.ts'
import type { AgentConfig } from '../config.ts'

/** NOT_FOUND for a machine that is neither configured here nor known to the gateway, with the one that was probably meant. */
export const noMachine = (name: string, machines: AgentConfig['machines']): VarveError => {
  const names = machines.map((one) => one.name)
  return new VarveError('NOT_FOUND', `there is no machine "${name}"; ${orElse(name, names, 'this host has')}`)
}
