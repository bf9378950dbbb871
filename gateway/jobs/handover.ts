// Whether a machine goes over to another agent that says it runs on its host: the rules, pure.
import { isUnused, type MachineRow } from '../catalog/machines.ts'
import { VarveError, type ErrorCode } from '../../protocol/errors.ts'

/** What a connected agent said last of a machine. */
export interface Said {
  readonly uuid: string | null
  /** It runs on the agent's host. */
  readonly here: boolean
}

/** Who asks for a machine, and what is known of the agent that has it. */
export interface Claim {
  readonly machine: Pick<MachineRow, 'uuid' | 'pointId' | 'job'>
  /** The agents are in one site of the tenant, and neither is revoked. */
  readonly sameSite: boolean
  /** Null where the machine's agent is not connected, or does not name the machine. */
  readonly holder: Said | null
  readonly claimant: Said
}

/**
 * - `goes`: the claimant takes it over
 * - `no-site`: nothing lets it pass on; a person must assign it
 * - `elsewhere`: it does not run on the claimant's host
 * - `held`: it runs on the holder's host too
 * - `uuid-unknown`, `uuid-differs`: nothing shows that both speak of one machine
 */
export type Verdict = 'goes' | 'no-site' | 'elsewhere' | 'held' | 'uuid-unknown' | 'uuid-differs'

/** The decision. One that was never seen running and has no restore point goes to where it runs: nothing is gained by it. */
export const judgeClaim = ({ machine, sameSite, holder, claimant }: Claim): Verdict => {
  if (!sameSite) return 'no-site'
  if (!claimant.here) return 'elsewhere'
  if (holder?.here === true) return 'held'
  if (machine.uuid === null && isUnused(machine)) return 'goes'
  if (machine.uuid === null || claimant.uuid === null) return 'uuid-unknown'
  return machine.uuid === claimant.uuid ? 'goes' : 'uuid-differs'
}

const ASSIGN = 'let an owner assign it to this agent'

/** Why a machine stays with the agent of this host, in a sentence with the way out. */
const SENTENCES: Readonly<Record<Exclude<Verdict, 'goes'>, (host: string) => string>> = {
  'no-site': (host) =>
    `the machine belongs to the agent of host ${host}; rename it, or let an owner assign it to this agent`,
  elsewhere: (host) =>
    `the agent of host ${host}, of the same site, serves the machine; it comes to this agent by itself once it runs here`,
  held: (host) =>
    `the machine runs on host ${host} as well, whose agent keeps it; if this is a copy, give it another name and another -uuid, else ${ASSIGN}`,
  'uuid-unknown': (host) =>
    `the machine belongs to the agent of host ${host}, and nothing shows that this is the same one: start it with one -uuid on both hosts, or ${ASSIGN}`,
  'uuid-differs': (host) =>
    `the machine of this name on host ${host} has another uuid: rename this one, start it with the -uuid of that one if it is the same, or ${ASSIGN}`,
}

/** The refusal of a claim. */
export const refusalOf = (
  verdict: Exclude<Verdict, 'goes'>,
  { name, host }: Pick<MachineRow, 'name' | 'host'>,
): { machine: string; code: ErrorCode; message: string } => {
  const code = verdict === 'elsewhere' ? 'MACHINE_MOVING' : 'EXISTS'
  return { machine: name, code, message: new VarveError(code, SENTENCES[verdict](host)).message }
}
