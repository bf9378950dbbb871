// Who notices that somebody cannot come in any more: agents that are away, certificates and tokens that end. Pure.
import { DAY_MS, durationText } from '../../protocol/host/duration.ts'
import type { EndingToken, ServingAgent } from '../catalog/watching.ts'
import { daysText, stepOf, type Before, type Step, type Verdict } from './watch-verdict.ts'

/** An agent is away when it was not connected for so long, in milliseconds: a restart of its host takes less. */
export const AWAY_MS = 10 * 60_000

/** It is back once it has stayed for so long, in milliseconds: one that comes and goes is still away. */
export const BACK_MS = 2 * 60_000

/** A certificate is told so many days before its end, and again when it is urgent. */
export const CERTIFICATE_DAYS = 21
export const CERTIFICATE_DAYS_URGENT = 3

/** A token is told so many days before its end; one that was made for less, at half of its time. */
export const TOKEN_DAYS = 14

/** Tokens that were made for less than so many days end unsaid: whoever made them meant so. */
export const TOKEN_DAYS_SHORT = 7

/** For so many days after its end a token is still spoken of, unless there is a new one. */
export const TOKEN_DAYS_ENDED = 7

/** An agent, and for how long it has been as it is. */
export interface AgentSeen extends ServingAgent {
  readonly online: boolean
  /** For how long it has been as `online` says, in milliseconds, as far as this gateway has seen it. */
  readonly forMs: number
}

const machinesText = (count: number): string => (count === 1 ? 'its machine is' : `its ${count} machines are`)

/** `agent.away` of agents that have machines. */
export const agentVerdicts = (agents: readonly AgentSeen[], before: Before): Verdict[] =>
  agents.map(({ tenant, id, host, machines, online, forMs, seenMs }) => {
    const subject = { kind: 'agent.away', tenant, key: `agent.away ${id}`, machine: null } as const
    const held = before(tenant, subject.key) !== null
    const holds = online ? held && forMs < BACK_MS : held || forMs >= AWAY_MS
    const last = seenMs === null ? 'was never connected' : `was seen last at ${new Date(seenMs).toISOString()}`
    const text =
      `the agent of ${host} is not connected and ${last}: ${machinesText(machines)} not backed up; start it there (systemctl ` +
      'start varve-agent) and read its log (journalctl -u varve-agent), or take it out (varve-gateway agent revoke)'
    return {
      ...subject,
      holding: holds ? { severity: 'warning', value: 'away', text, data: { agent: id, host, machines, seenMs } } : null,
      good: `the agent of ${host} is connected again, for ${durationText(forMs)}`,
    }
  })

/** The certificate that the port serves. */
export interface CertificateSeen {
  readonly fromMs: number
  readonly untilMs: number
}

/** Part of a certificate's life that is left when it is told, at most: short ones are renewed shortly before their end. */
const CERTIFICATE_SHARE = 1 / 4

/** Between a step and the next one, as a part of the days that they begin with. */
const URGENT_SHARE = CERTIFICATE_DAYS_URGENT / CERTIFICATE_DAYS

/** `certificate.ending` of the platform. */
export const certificateVerdict = ({ fromMs, untilMs }: CertificateSeen, nowMs: number, before: Before): Verdict => {
  const subject = { kind: 'certificate.ending', tenant: null, key: 'certificate.ending', machine: null } as const
  const firstDays = Math.min(CERTIFICATE_DAYS, ((untilMs - fromMs) / DAY_MS) * CERTIFICATE_SHARE)
  const daysLeft = (untilMs - nowMs) / DAY_MS
  const steps: readonly Step<'soon' | 'urgent' | 'ended'>[] = [
    { below: firstDays, value: 'soon' },
    { below: firstDays * URGENT_SHARE, value: 'urgent' },
    { below: 0, value: 'ended' },
  ]
  const step = stepOf(daysLeft, steps, { before: before(null, subject.key), slack: 1 })
  const until = new Date(untilMs).toISOString()
  const ends =
    step?.value === 'ended'
      ? `has expired at ${until}, and agents and browsers refuse it`
      : `expires in ${daysText(daysLeft)}, at ${until}; agents refuse it then`
  const text = `the certificate that the gateway serves ${ends}: renew its files, which are read again within a minute`
  const severity = step?.value === 'soon' ? 'warning' : 'error'
  return {
    ...subject,
    holding: step === null ? null : { severity, value: step.value, text, data: { untilMs } },
    good: `the certificate that the gateway serves is good until ${until}`,
  }
}

/** `token.ending` of tokens without a newer one for the same subject and role. */
export const tokenVerdicts = (tokens: readonly EndingToken[], nowMs: number): Verdict[] =>
  tokens.map(({ tenant, tenantName, id, subject: who, role, createdMs, expiresMs, lastMs }) => {
    const subject = { kind: 'token.ending', tenant, key: `token.ending ${id}`, machine: null } as const
    const lifeDays = (expiresMs - createdMs) / DAY_MS
    const daysLeft = (expiresMs - nowMs) / DAY_MS
    const renewed = lastMs > expiresMs
    const near = daysLeft < Math.min(TOKEN_DAYS, lifeDays / 2) && daysLeft > -TOKEN_DAYS_ENDED
    const holds = lifeDays >= TOKEN_DAYS_SHORT && near && !renewed
    const of = `the token of ${who} (${role}${tenantName === null ? '' : `, tenant ${tenantName}`})`
    const ends = daysLeft > 0 ? `ends in ${daysText(daysLeft)}, at` : 'has ended at'
    const where = tenantName === null ? '' : ` --tenant ${tenantName}`
    const text =
      `${of} ${ends} ${new Date(expiresMs).toISOString()}: what uses it is refused then; give it a new one (varve-gateway token ` +
      `issue${where} --role ${role} --subject "${who}" --ttl 90d), or revoke it where nobody needs it (varve-gateway token ` +
      `revoke ${id}${where})`
    const value = daysLeft > 0 ? 'soon' : 'ended'
    const severity = daysLeft > 0 ? 'warning' : 'error'
    const good = renewed
      ? `${who} has a new token (${role}), which is good until ${new Date(lastMs).toISOString()}`
      : `${of} ended, and is not spoken of any more`
    return { ...subject, holding: holds ? { severity, value, text, data: { token: id, expiresMs } } : null, good }
  })
