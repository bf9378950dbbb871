// The one door: decides each call, runs it in its turn, and puts each act in the audit log exactly once, done or refused.
import type { AuditRecord } from '../catalog/audit-record.ts'
import { asVarveError, VarveError, type ErrorCode, type ErrorDetails } from '../../protocol/errors.ts'
import { isAct } from '../../protocol/method.ts'
import { methodOf, type Params, type Result } from '../../protocol/methods.ts'
import type { Clock, ServedCall } from '../../protocol/peer.ts'
import type { Audit } from '../auth/audit.ts'
import { authorise, forbidden } from '../auth/authorise.ts'
import type { Catalog } from '../catalog/catalog.ts'
import type { Change, EntryDetails } from '../catalog/change.ts'
import type { Backups } from '../jobs/backups.ts'
import type { Log } from '../../protocol/host/log.ts'
import type { Account } from '../memory/budget.ts'
import type { Action, Actions, Actor, Context, Served, Turn } from './action.ts'
import { outward } from './outward.ts'
import type { Sessions } from './sessions.ts'

/** Turns for catalog queries and for questions to agents. */
interface Turns {
  run<R>(
    of: { readonly tenant: string | null; readonly session: object; readonly signal: AbortSignal },
    work: () => Promise<R>,
  ): Promise<R>
}

/** What the door sees of the sessions that are open. */
export interface DoorSessions extends Pick<Sessions, 'serves'> {
  readonly turns: Readonly<Record<Turn, Turns>>
}

interface DoorOptions {
  readonly actions: Actions
  readonly catalog: Pick<Catalog, 'machines'>
  readonly backups: Pick<Backups, 'get' | 'toldCodes'>
  readonly audit: Pick<Audit, 'record' | 'refused'>
  readonly sessions: DoorSessions
  readonly clock: Clock
  readonly log: Log
}

/** The caller and the call. */
export interface Caller<N extends Served> {
  readonly actor: Actor
  readonly call: ServedCall<N>
  readonly account: Account
}

/** The resource of a call, by the fields of its parameters that name it. */
const RESOURCES = [
  'tenant',
  'machine',
  'job',
  'point',
  'disk',
  'agent',
  'restore',
  'drill',
  'token',
  'command',
  'target',
  'rule',
  'mute',
  'notice',
] as const

/** The resource of a call for the audit log: only names and ids. */
const resourceOf = (params: object): string =>
  RESOURCES.flatMap((field) => {
    const value: unknown = Reflect.get(params, field)
    return typeof value === 'string' ? [`${field}=${value}`] : []
  }).join(' ')

/** Errors that cost their caller nothing: past a bound the audit log only counts them. */
const REFUSALS: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'ROLE_FORBIDDEN',
  'NOT_SERVING',
  'NOT_FOUND',
  'MAINTENANCE_RUNNING',
])

/** The refusal of what an agent may do only on the connection that serves its machines. */
export const notServing = (): VarveError =>
  new VarveError(
    'NOT_SERVING',
    'this connection does not serve the agent\'s machines: only that of "varve-agent run" speaks of their backups',
  )

/** One call on its way through the door. */
class Passage<N extends Served> implements Context<N> {
  readonly actor: Actor
  readonly call: ServedCall<N>
  readonly account: Account
  /** True once the call's entry was written with its change. */
  entered = false
  readonly #options: DoorOptions
  readonly #name: N
  readonly #params: Params<N>

  constructor(options: DoorOptions, name: N, params: Params<N>, { actor, call, account }: Caller<N>) {
    this.#options = options
    this.#name = name
    this.#params = params
    this.actor = actor
    this.call = call
    this.account = account
  }

  get tenant(): NonNullable<Actor['tenant']> {
    const { tenant, role } = this.actor
    if (tenant === null) throw forbidden(role, this.#name)
    return tenant
  }

  allow(
    resource: Parameters<typeof authorise>[2],
    { name, roles }: Parameters<typeof authorise>[1] = { name: this.#name, roles: methodOf(this.#name).roles },
  ): void {
    const { role, subject, tenant } = this.actor
    const refusal = authorise({ role, subject, tenant: tenant?.id ?? null }, { name, roles }, resource)
    if (refusal !== null) throw refusal
  }

  readonly only: Context<N>['only'] = (roles, what) => this.allow({}, { name: `${this.#name} ${what}`, roles })

  readonly machine: Context<N>['machine'] = async (name) => {
    const { tenant, actor } = this
    const row = await this.#options.catalog.machines.get({ tenant: tenant.id, name, person: actor.agent === null })
    this.allow({ tenant: tenant.id, agent: row.agent, kind: `machine "${name}"` })
    return row
  }

  readonly job: Context<N>['job'] = async (id) => {
    const { tenant } = this
    const { row } = await this.#options.backups.get(tenant, id)
    this.allow({ tenant: tenant.id, agent: row.agent, kind: `job ${id}` })
    return row
  }

  readonly inTurn = <R>(work: () => Promise<R>, turn: Turn = 'listing'): Promise<R> => {
    const of = { tenant: this.actor.tenant?.id ?? null, session: this.actor, signal: this.call.signal }
    return this.#options.sessions.turns[turn].run(of, work)
  }

  readonly change: Change = async (apply, about) => {
    const result = await apply(this.entry('ok', null, about))
    this.entered = true
    return result
  }

  readonly begun = (): Promise<void> => this.#options.audit.record(this.entry('begun', null))

  entry(outcome: string, result: Result<N> | null, about: EntryDetails = {}): AuditRecord {
    const { subject, role, address, tenant } = this.actor
    const details: ErrorDetails = this.#options.actions[this.#name].details?.(this.#params, result) ?? {}
    return {
      timeMs: this.#options.clock.now(),
      tenant: about.tenant === undefined ? (tenant?.id ?? null) : about.tenant,
      subject,
      role,
      action: this.#name,
      resource: resourceOf(this.#params),
      outcome,
      details: { ...details, ...about.details, address },
    }
  }
}

export class Door {
  readonly #options: DoorOptions

  constructor(options: DoorOptions) {
    this.#options = options
  }

  /** Runs one action for an actor; errors are turned into ones that a peer may see. */
  async run<N extends Served>(name: N, params: Params<N>, caller: Caller<N>): Promise<Result<N>> {
    const { actions, audit, sessions } = this.#options
    const method = methodOf(name)
    const action: Action<N> = actions[name]
    const passage = new Passage(this.#options, name, params, caller)
    try {
      // the role is checked before anything else
      passage.allow({})
      if (method.serving === true && !sessions.serves(caller.actor)) throw notServing()
      const run = (): Promise<Result<N>> => action.run(params, passage)
      const result = await (action.turn === undefined ? run() : passage.inTurn(run, action.turn))
      if (isAct(method, params) && !passage.entered) await audit.record(passage.entry('ok', result))
      return result
    } catch (thrown) {
      throw await this.#failed(name, params, passage, thrown)
    }
  }

  /** Records a call that failed; returns the error as its caller sees it. */
  async #failed<N extends Served>(
    name: N,
    params: Params<N>,
    passage: Passage<N>,
    thrown: unknown,
  ): Promise<VarveError> {
    const { audit, backups, log } = this.#options
    const method = methodOf(name)
    const error = outward(asVarveError(thrown))
    if (error.code === 'INTERNAL') log.error({ err: thrown, method: name }, 'a method failed')
    const job: unknown = Reflect.get(params, 'job')
    if (method.serving === true && typeof job === 'string') backups.toldCodes.note(job, error)
    // a change already has its entry
    if (passage.entered) return error
    const entry = passage.entry(error.code, null)
    if (REFUSALS.has(error.code)) await audit.refused(entry)
    else if (isAct(method, params)) await audit.record(entry)
    return error
  }
}
