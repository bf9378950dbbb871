// What people do with notifications: targets and their secrets, tests and digests; the ping.
import { randomUUID } from 'node:crypto'
import { VarveError } from '../../protocol/errors.ts'
import {
  MATCH_CHARS_MAX,
  type Match,
  type Rule,
  type Target,
  type TargetSecrets,
  type TargetSettings,
} from '../../protocol/notify.ts'
import type { Clock } from '../../protocol/peer.ts'
import type { Catalog } from '../catalog/catalog.ts'
import type { Change } from '../catalog/change.ts'
import type { TargetRow } from '../catalog/notices.ts'
import { resolve as systemResolve, type Resolve } from './addresses.ts'
import { DeadMan } from './dead-man.ts'
import { digestMessage, testMessage, type Addressed } from './messages.ts'
import { belongingOf, Outward } from './outward.ts'
import { quietProblem } from './quiet.ts'
import { SecretBox } from './secrets.ts'
import { originOf, settledSecrets } from './settings.ts'

/** Tests and digests of one tenant in a minute: who asks for them makes the gateway speak to others. */
export const TESTS_MAX = 6

/** Messages of one tenant that are sent again in a minute. */
export const RETRIES_MAX = 60
const TESTS_WINDOW_MS = 60_000

/** Tenants whose tests are counted at once. */
const TESTERS_MAX = 10_000

/** Whose targets are meant: a tenant's, or the platform's. */
export interface Scope {
  readonly tenant: string | null
  readonly tenantName: string | null
}

export interface WantedTarget {
  readonly name: string
  readonly settings: TargetSettings
  readonly secrets: TargetSecrets
  readonly hourly: number
  /** Whether a new one gets a rule of its name. */
  readonly rule: boolean
}

interface DeskOptions {
  readonly catalog: Pick<Catalog, 'conditions' | 'notices' | 'settings'>
  readonly secrets: SecretBox
  readonly clock: Clock
  /** Targets of tenants may be in private networks too. */
  readonly anywhere: boolean
  readonly resolve: Resolve
  readonly deadlineMs?: number
}

/** The rule of a new target: everything of severity warning and worse; that a machine fails is its state, told once. */
const firstRule = (name: string): Rule => ({
  name,
  match: { severity: 'warning', not: { kinds: ['job.failed'] } },
  targets: [name],
  quiet: null,
  repeatMs: null,
})

/** PARAMS_INVALID for a match that is too long. */
export const checkMatch = (match: Match): void => {
  const { length } = JSON.stringify(match)
  if (length <= MATCH_CHARS_MAX) return
  const most = `at most ${MATCH_CHARS_MAX} are allowed: name groups or patterns`
  throw new VarveError('PARAMS_INVALID', `the match has ${length} characters as JSON, ${most}`)
}

export class NoticeDesk {
  readonly outward: Outward
  readonly deadMan: DeadMan
  readonly #options: DeskOptions
  readonly #tests = new Map<string | null, number[]>()
  readonly #retries = new Map<string | null, number[]>()

  /** Opens the desk with the key in a folder of secrets. */
  static async open({
    folder,
    catalog,
    clock,
    anywhere = false,
    resolve = systemResolve,
  }: Pick<DeskOptions, 'catalog' | 'clock'> &
    Partial<Pick<DeskOptions, 'anywhere' | 'resolve'>> & { readonly folder: string }): Promise<NoticeDesk> {
    return new NoticeDesk({ secrets: await SecretBox.open(folder), catalog, clock, anywhere, resolve })
  }

  constructor(options: DeskOptions) {
    const { catalog, secrets, clock } = options
    this.#options = options
    this.outward = new Outward(options)
    this.deadMan = new DeadMan({ catalog, secrets, outward: this.outward, clock })
  }

  /** Why no secret can be read or set; null where they can. */
  get fault(): VarveError | null {
    return this.#options.secrets.fault
  }

  /** A target without its secrets. */
  view(tenant: string | null, row: Omit<TargetRow, 'sinceSeq' | 'held'>): Target {
    const { name, settings, hourly, origin, set } = row
    const lost = row.secret !== null && this.outward.secretsOf(tenant, row) === null
    return {
      name,
      settings,
      hourly,
      origin,
      set: [...set],
      secrets: row.secret === null ? 'none' : lost ? 'lost' : 'set',
    }
  }

  async targets({ tenant }: Scope): Promise<Target[]> {
    return (await this.#options.catalog.notices.targets({ tenant })).map((row) => this.view(tenant, row))
  }

  /** Adds or changes a target; PARAMS_INVALID, LIMIT_REACHED, CONFIG_INVALID. */
  async setTarget(
    { tenant }: Scope,
    { name, settings, secrets: given, hourly, rule }: WantedTarget,
    change: Change,
  ): Promise<{ target: Target; added: boolean }> {
    const { catalog, secrets: box, clock } = this.#options
    const row = await catalog.notices.target({ tenant, name })
    const before = row === null ? null : { settings: row.settings, secrets: this.outward.secretsOf(tenant, row) }
    const secrets = settledSecrets(settings, given, before)
    const set = Object.keys(secrets)
    const secret = set.length === 0 ? null : await box.seal(JSON.stringify(secrets), belongingOf(tenant, name))
    const target = { name, settings, secret, hourly, origin: originOf(secrets), set }
    const first = rule ? firstRule(name) : null
    const asked = { tenant, target, rule: first, nowMs: clock.now() }
    const { added } = await change((entry) => catalog.notices.setTarget(asked, entry))
    return { target: this.view(tenant, target), added }
  }

  /** Adds or changes a rule; PARAMS_INVALID for quiet hours that are not understood, NOT_FOUND, LIMIT_REACHED. */
  async setRule({ tenant }: Scope, rule: Rule, change: Change): Promise<{ added: boolean }> {
    checkMatch(rule.match)
    const problem = rule.quiet === null ? null : quietProblem(rule.quiet)
    if (problem !== null) throw new VarveError('PARAMS_INVALID', problem)
    const { catalog, clock } = this.#options
    return change((entry) => catalog.notices.setRule({ tenant, rule, nowMs: clock.now() }, entry))
  }

  /** Sends a test at once, past outbox and rules; NOT_FOUND, TOO_MANY_REQUESTS. */
  async test(
    scope: Scope,
    name: string,
    signal?: AbortSignal,
  ): Promise<{ sent: boolean; answer: string; durationMs: number }> {
    const row = await this.#target(scope, name)
    this.#count(this.#tests, scope.tenant, TESTS_MAX)
    const { clock } = this.#options
    const fromMs = clock.elapsed()
    const answered = await this.outward.send(scope.tenant, row, testMessage(this.#addressed(scope, name)), signal)
    return { ...answered, durationMs: Math.max(0, Math.round(clock.elapsed() - fromMs)) }
  }

  /** Puts a digest of what holds now into the outbox; its id, and how many hold. NOT_FOUND, TOO_MANY_REQUESTS. */
  async digest(scope: Scope, name: string, change: Change): Promise<{ notice: string; holding: number }> {
    await this.#target(scope, name)
    this.#count(this.#tests, scope.tenant, TESTS_MAX)
    const { catalog, clock } = this.#options
    const { tenant } = scope
    const holding = await catalog.conditions.of({ tenant, kind: null })
    const to = this.#addressed(scope, name)
    const notice = { id: to.id, target: name, message: digestMessage(to, holding) }
    await change((entry) => catalog.notices.post({ tenant, notice, nowMs: clock.now() }, entry))
    return { notice: to.id, holding: holding.length }
  }

  /** Sends a message of the outbox again; NOT_FOUND, PARAMS_INVALID, TOO_MANY_REQUESTS. */
  async retry({ tenant }: Scope, id: string, change: Change): Promise<void> {
    this.#count(this.#retries, tenant, RETRIES_MAX)
    const { catalog, clock } = this.#options
    await change((entry) => catalog.notices.retry({ tenant, id, nowMs: clock.now() }, entry))
  }

  #addressed({ tenantName }: Scope, target: string): Addressed {
    return { id: randomUUID(), timeMs: this.#options.clock.now(), tenant: tenantName, target }
  }

  async #target({ tenant }: Scope, name: string): Promise<TargetRow> {
    const row = await this.#options.catalog.notices.target({ tenant, name })
    if (row !== null) return row
    const list = 'varve-gateway notify target list shows those there are'
    throw new VarveError('NOT_FOUND', `there is no target "${name}"; ${list}`)
  }

  #count(asked: Map<string | null, number[]>, tenant: string | null, max: number): void {
    const nowMs = this.#options.clock.elapsed()
    const lately = (asked.get(tenant) ?? []).filter((atMs) => nowMs - atMs < TESTS_WINDOW_MS)
    if (lately.length >= max || (lately.length === 0 && asked.size >= TESTERS_MAX))
      throw new VarveError('TOO_MANY_REQUESTS', `at most ${max} of these are sent in a minute: try again later`)
    asked.delete(tenant)
    asked.set(tenant, [...lately, nowMs])
    for (const [other, times] of asked) if (nowMs - times.at(-1)! >= TESTS_WINDOW_MS) asked.delete(other)
  }
}
