// The facts of an unattended run, as the catalog, the gateway and those who were told have them at the end.
import type { Host } from '../support/stand-host.ts'
import type { Check, Facts } from './checks.ts'
import type { Proofs } from './proofs.ts'
import type { Rig } from './rig.ts'

/** Events and runs that are looked at. */
const ROWS_MAX = 1000

type Given = Pick<Facts, 'fromMs' | 'toMs' | 'gatewayAway' | 'mostBytes' | 'bytes'>

export const factsOf = async (
  { stand, guests, hook, mailbox, look }: Rig,
  proofs: Proofs,
  given: Given,
): Promise<Facts> => {
  const points = await stand.listPoints()
  const asked = { machine: null, group: null, rules: null, points: null, dryRun: true }
  const plan = await (await stand.peer('owner')).call('points.prune', asked)
  const rows = await look(async (catalog, tenant) => ({
    runs: await catalog.runs.list({ tenant, machine: null, kind: null, state: null, after: null, limit: ROWS_MAX }),
    events: await catalog.events.after({ seq: 0, limit: ROWS_MAX }),
  }))
  return {
    ...given,
    ...rows,
    machines: guests.map(({ name }) => name),
    proofs: proofs.all,
    gone: proofs.gone.size,
    points: points.length,
    removable: plan.removed,
    mails: mailbox.mails,
    messages: hook.messages,
    wrongHooks: hook.wrong,
  }
}

/** Nothing of any lease is left on a host. */
export const leftCheck = async (host: Host): Promise<Check> => {
  const left = Object.entries(await host.residue()).flatMap(([what, names]) =>
    (names as readonly string[]).map((name) => `${what} ${name}`),
  )
  const seen = left.length === 0 ? 'no scratch, no lease, no socket' : left.join(', ')
  return { what: 'nothing is left on the host', ok: left.length === 0, seen }
}
