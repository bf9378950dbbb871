// Who notices that a clock is wrong: an agent's, which dates its restore points, and the gateway's own. Pure.
import { durationText } from '../../protocol/host/duration.ts'
import type { Before, Verdict } from './watch-verdict.ts'

/** An agent's clock is wrong when it differs by more, in milliseconds, and right again when by less than half of it. */
export const SKEW_MS = 60_000

/** The gateway's clock was set when it went on by so much more or less than time passed, in milliseconds. */
export const STEP_MS = 60_000

/** It is good again once it has gone on evenly for so long, in milliseconds. */
export const STEADY_MS = 3_600_000

/** What an agent's clock was when its last backup began. */
export interface SkewSeen {
  readonly tenant: string
  readonly agent: string
  readonly host: string
  /** How far it is ahead of the gateway's, in milliseconds; below 0 where it is behind. */
  readonly skewMs: number
}

/** `clock.wrong` of agents; one that began no backup since the gateway started is left as it is. */
export const skewVerdicts = (seen: readonly SkewSeen[], before: Before): Verdict[] =>
  seen.map(({ tenant, agent, host, skewMs }) => {
    const subject = { kind: 'clock.wrong', tenant, key: `clock.wrong ${agent}`, machine: null } as const
    const held = before(tenant, subject.key) !== null
    const holds = Math.abs(skewMs) > (held ? SKEW_MS / 2 : SKEW_MS)
    const differs = `${durationText(Math.abs(skewMs))} ${skewMs > 0 ? 'ahead of' : 'behind'}`
    const text =
      `the clock of ${host} is ${differs} the gateway's, and its restore points are dated so: let a time server set both ` +
      '(timedatectl set-ntp true)'
    return {
      ...subject,
      holding: holds ? { severity: 'warning', value: 'wrong', text, data: { agent, host, skewMs } } : null,
      good: `the clock of ${host} is right again`,
    }
  })

/** A moment by both clocks, in milliseconds. */
export interface Moment {
  /** Time of day. */
  readonly nowMs: number
  /** Of a clock that nobody sets; it stands still while the host is suspended. */
  readonly elapsedMs: number
}

/** What is remembered of the gateway's clock from one look to the next. */
export interface ClockSeen {
  readonly last: Moment
  /** The last step, in milliseconds of the time of day: below 0 for one back; null for none since the start. */
  readonly stepMs: number | null
  /** When that was, or the start, by the clock that nobody sets. */
  readonly sinceMs: number
}

/**
 * What the gateway's clock is at its start: behind the last thing that was recorded, it was set back while no gateway ran;
 * `recordedMs` is null where nothing was recorded yet.
 */
export const clockAtStart = (moment: Moment, recordedMs: number | null): ClockSeen => {
  const aheadMs = recordedMs === null ? 0 : moment.nowMs - recordedMs
  return { last: moment, stepMs: aheadMs < -STEP_MS ? aheadMs : null, sinceMs: moment.elapsedMs }
}

/** The same a look later. */
export const clockLater = (seen: ClockSeen, moment: Moment): ClockSeen => {
  const { last } = seen
  const stepMs = moment.nowMs - last.nowMs - (moment.elapsedMs - last.elapsedMs)
  return Math.abs(stepMs) > STEP_MS ? { last: moment, stepMs, sinceMs: moment.elapsedMs } : { ...seen, last: moment }
}

/**
 * `clock.wrong` of the platform: the gateway's own clock was set within the last hour. Null while it is not known whether what
 * was told before a restart is over.
 */
export const clockVerdict = ({ last, stepMs, sinceMs }: ClockSeen): Verdict | null => {
  const subject = { kind: 'clock.wrong', tenant: null, key: 'clock.wrong', machine: null } as const
  const good = 'the clock of the gateway goes on evenly'
  if (last.elapsedMs - sinceMs >= STEADY_MS) return { ...subject, holding: null, good }
  if (stepMs === null) return null
  const by = durationText(Math.abs(stepMs))
  const how = stepMs < 0 ? `was set back by ${by}` : `was set forward by ${by}, or its host was suspended for so long`
  const text =
    `the clock of the gateway ${how}: restore points and plans follow it, so let a time server set it (timedatectl set-ntp true); ` +
    'this is over after an hour without another step'
  const value = stepMs < 0 ? 'back' : 'forward'
  return { ...subject, holding: { severity: 'warning', value, text, data: { byMs: Math.round(stepMs) } }, good }
}
