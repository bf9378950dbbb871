// Notifications: targets, rules, mutes, the outbox and the ping outwards.
import type { Asked, Result } from '../../../protocol/methods.ts'
import type { Mute, Notice, NoticeState, Rule, Target } from '../../../protocol/notify.ts'
import type { Link } from '../net/link.ts'
import { Pages } from '../net/pages.ts'
import { Resource } from '../net/resource.ts'

/** How often they are read again while somebody looks, in milliseconds. */
const REFRESH_MS = 15_000

const PAGE_ROWS = 100

export interface Settings {
  readonly targets: readonly Target[]
  readonly rules: readonly Rule[]
  readonly mutes: readonly Mute[]
}

export const settingsOf = (link: Link): Resource<Settings> =>
  new Resource({
    link,
    everyMs: REFRESH_MS,
    read: async (signal) => {
      const [{ targets }, { rules }, { mutes }] = await Promise.all([
        link.call('notify.targets', {}, { signal }),
        link.call('notify.rules', {}, { signal }),
        link.call('notify.mutes', {}, { signal }),
      ])
      return { targets, rules, mutes }
    },
  })

export const outboxOf = (link: Link, state: NoticeState | null): Pages<Notice> =>
  new Pages({
    link,
    everyMs: REFRESH_MS,
    read: async (after, signal) => {
      const { notices, next } = await link.call('notify.outbox', { state, after, limit: PAGE_ROWS }, { signal })
      return { rows: notices, next }
    },
  })

/** The ping that says that the gateway lives; `none` where there is no ping. */
export const pingOf = (link: Link): Resource<NonNullable<Result<'notify.ping'>['ping']> | 'none'> =>
  new Resource({
    link,
    everyMs: REFRESH_MS,
    read: async (signal) => (await link.call('notify.ping', {}, { signal })).ping ?? 'none',
  })

/** What the view does; each rejects with the gateway's error. */
export const noticeActionsOf = (link: Link) => ({
  test: (target: string) => link.call('notify.test', { target }),
  setTarget: (asked: Asked<'notify.setTarget'>) => link.call('notify.setTarget', asked),
  removeTarget: (target: string) => link.call('notify.removeTarget', { target }),
  setRule: (asked: Asked<'notify.setRule'>) => link.call('notify.setRule', asked),
  removeRule: (rule: string) => link.call('notify.removeRule', { rule }),
  mute: (asked: Asked<'notify.mute'>) => link.call('notify.mute', asked),
  unmute: (mute: string) => link.call('notify.unmute', { mute }),
  retry: (notice: string) => link.call('notify.retry', { notice }),
  drop: (notice: string) => link.call('notify.drop', { notice }),
})
