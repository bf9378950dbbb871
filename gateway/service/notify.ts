// Notifications: targets, rules, mutes, the outbox and the ping, for a tenant's people and for the platform.
import { randomUUID } from 'node:crypto'
import * as v from 'valibot'
import { VarveError } from '../../protocol/errors.ts'
import type { NOTIFY_METHODS } from '../../protocol/notify-methods.ts'
import type { Clock } from '../../protocol/peer.ts'
import type { Catalog } from '../catalog/catalog.ts'
import { checkMatch, type NoticeDesk, type Scope } from '../notify/desk.ts'
import type { ActionsOf, Actor } from './action.ts'
import { keyBehind, nextOf, pageOf } from './page.ts'

/** Longest mute, in milliseconds: a year. */
const MUTE_MS_MAX = 366 * 24 * 3_600_000

interface Uses {
  readonly catalog: Pick<Catalog, 'notices'>
  readonly desk: NoticeDesk
  /** There may be something to send. */
  readonly wake: () => void
  readonly clock: Clock
}

type Notify = ActionsOf<keyof typeof NOTIFY_METHODS>

/** The actor's tenant, or the platform. */
const scopeOf = ({ tenant }: Actor): Scope => ({ tenant: tenant?.id ?? null, tenantName: tenant?.name ?? null })

const OUTBOX_KEY = v.strictTuple([v.pipe(v.number(), v.safeInteger()), v.string()])

type TargetMethods = 'notify.targets' | 'notify.setTarget' | 'notify.removeTarget' | 'notify.test' | 'notify.digest'

const targetActions = ({ catalog, desk, wake, clock }: Uses): Pick<Notify, TargetMethods> => ({
  'notify.targets': { turn: 'listing', run: async (_, { actor }) => ({ targets: await desk.targets(scopeOf(actor)) }) },

  'notify.setTarget': {
    // which secrets were given, and never what they are
    details: ({ settings, secrets, hourly }) => ({
      kind: settings.kind,
      secrets: Object.keys(secrets).join(','),
      hourly,
      ...(settings.kind === 'smtp' ? { host: settings.host, to: settings.to.join(',') } : {}),
      ...('url' in settings ? { origin: URL.parse(settings.url)?.origin ?? '' } : {}),
    }),
    run: async ({ target: name, ...wanted }, { actor, change }) => {
      const answer = await desk.setTarget(scopeOf(actor), { name, ...wanted }, change)
      wake()
      return answer
    },
  },

  'notify.removeTarget': {
    run: async ({ target: name }, { actor, change }) => {
      const { tenant } = scopeOf(actor)
      const asked = { tenant, name, nowMs: clock.now() }
      return { rules: await change((entry) => catalog.notices.removeTarget(asked, entry)) }
    },
  },

  'notify.test': {
    details: (_, result) => (result === null ? {} : { sent: result.sent }),
    run: ({ target }, { actor, call }) => desk.test(scopeOf(actor), target, call.signal),
  },

  'notify.digest': {
    run: async ({ target }, { actor, change }) => {
      const answer = await desk.digest(scopeOf(actor), target, change)
      wake()
      return answer
    },
  },
})

type RuleMethods =
  'notify.rules' | 'notify.setRule' | 'notify.removeRule' | 'notify.mutes' | 'notify.mute' | 'notify.unmute'

const ruleActions = ({ catalog, desk, wake, clock }: Uses): Pick<Notify, RuleMethods> => ({
  'notify.rules': {
    turn: 'listing',
    run: async (_, { actor }) => ({ rules: await catalog.notices.rules({ tenant: scopeOf(actor).tenant }) }),
  },

  'notify.setRule': {
    details: ({ rule: _, ...rule }) => ({ rule: JSON.stringify(rule).slice(0, 1024) }),
    run: async ({ rule: name, ...rest }, { actor, change }) => {
      const answer = await desk.setRule(scopeOf(actor), { name, ...rest }, change)
      wake()
      return answer
    },
  },

  'notify.removeRule': {
    run: async ({ rule: name }, { actor, change }) => {
      const asked = { tenant: scopeOf(actor).tenant, name, nowMs: clock.now() }
      await change((entry) => catalog.notices.removeRule(asked, entry))
      return {}
    },
  },

  'notify.mutes': {
    turn: 'listing',
    run: async (_, { actor }) => ({
      mutes: await catalog.notices.mutes({ tenant: scopeOf(actor).tenant, nowMs: clock.now() }),
    }),
  },

  'notify.mute': {
    details: ({ match, reason, untilMs }) => ({ match: JSON.stringify(match).slice(0, 1024), reason, untilMs }),
    run: async ({ match, reason, untilMs }, { actor, change }) => {
      checkMatch(match)
      const nowMs = clock.now()
      if (untilMs <= nowMs || untilMs - nowMs > MUTE_MS_MAX)
        throw new VarveError('PARAMS_INVALID', 'a mute ends within a year from now')
      const mute = { id: randomUUID(), by: actor.subject, reason, match, sinceMs: nowMs, untilMs }
      await change((entry) => catalog.notices.mute({ tenant: scopeOf(actor).tenant, mute }, entry))
      return { mute }
    },
  },

  'notify.unmute': {
    run: async ({ mute: id }, { actor, change }) => {
      const asked = { tenant: scopeOf(actor).tenant, id, nowMs: clock.now() }
      await change((entry) => catalog.notices.unmute(asked, entry))
      wake()
      return {}
    },
  },
})

type OutboxMethods = 'notify.outbox' | 'notify.retry' | 'notify.drop' | 'notify.ping' | 'notify.setPing'

const outboxActions = ({ catalog, desk, wake }: Uses): Pick<Notify, OutboxMethods> => ({
  'notify.outbox': {
    turn: 'listing',
    run: async ({ state, after, limit }, { actor }) => {
      const list = `notify.outbox ${state ?? ''}`
      const behind = keyBehind(list, after, OUTBOX_KEY)
      const before = behind === null ? null : { madeMs: behind[0], id: behind[1] }
      const asked = { tenant: scopeOf(actor).tenant, state, before, limit: limit + 1 }
      const page = pageOf(await catalog.notices.outbox(asked), limit)
      return { notices: [...page.rows], next: nextOf(list, page, ({ madeMs, id }) => [madeMs, id]) }
    },
  },

  'notify.retry': {
    run: async ({ notice: id }, { actor, change }) => {
      await desk.retry(scopeOf(actor), id, change)
      wake()
      return {}
    },
  },

  'notify.drop': {
    run: async ({ notice: id }, { actor, change }) => {
      await change((entry) => catalog.notices.drop({ tenant: scopeOf(actor).tenant, id }, entry))
      return {}
    },
  },

  'notify.ping': { run: async () => ({ ping: await desk.deadMan.view() }) },

  'notify.setPing': {
    details: ({ url, everyMs }) => ({ origin: url === null ? null : (URL.parse(url)?.origin ?? ''), everyMs }),
    run: async ({ url, everyMs, insecure }, { change }) => {
      await desk.deadMan.set(url === null ? null : { url, everyMs, insecure }, change)
      wake()
      return { ping: await desk.deadMan.view() }
    },
  },
})

export const notifyActions = (uses: Uses): Notify => ({
  ...targetActions(uses),
  ...ruleActions(uses),
  ...outboxActions(uses),
})
