// Many idle agents in one process: each has its own key and the agent's own link, and serves one machine that never moves.
//
// Started by fleet-idle.ts with fork; orders come and events go as messages.
import { announced } from '../support/announced.ts'
import { hostname } from 'node:os'
import path from 'node:path'
import { systemClock } from '../../protocol/host/clock.ts'
import { enrolHost } from '../../agent/enrol.ts'
import { Identity } from '../../agent/identity.ts'
import { GatewayLink } from '../../agent/session/link.ts'
import { PROGRAM } from '../../agent/session/program.ts'
import { dial } from '../../protocol/host/dial.ts'

/** Enrolments under way at once. */
const ENROLMENTS_AT_ONCE = 8

/** Events are sent on in batches, this often, in milliseconds. */
const EVENTS_INTERVAL_MS = 50

export type CrowdOrder =
  | { readonly do: 'enrol'; readonly gateway: string; readonly tokens: readonly string[]; readonly folder: string }
  | { readonly do: 'connect' }

export interface CrowdEvent {
  /** Milliseconds since 1970. */
  readonly atMs: number
  /** `ended`: the link has given up for good. */
  readonly kind: 'up' | 'down' | 'ended'
  /** Why it is down or ended. */
  readonly code: string | null
}

export type CrowdAnswer = { readonly enrolled: number } | { readonly events: readonly CrowdEvent[] }

const answer = (message: CrowdAnswer): void => void process.send?.(message)

let events: CrowdEvent[] = []
const note = (kind: CrowdEvent['kind'], code: string | null): void => {
  events.push({ atMs: Date.now(), kind, code })
}
const sendEvents = (): void => {
  if (events.length > 0) answer({ events })
  events = []
}

let gateway = ''
let identities: Identity[] = []

const enrolAll = async (order: CrowdOrder & { do: 'enrol' }): Promise<void> => {
  gateway = order.gateway
  const waiting = order.tokens.entries()
  const worker = async (): Promise<void> => {
    for (const [index, token] of waiting) {
      const state = path.join(order.folder, String(index))
      await enrolHost({ gateway, ca: null, token, state })
      identities.push(await Identity.load(state))
    }
  }
  identities = []
  await Promise.all(Array.from({ length: ENROLMENTS_AT_ONCE }, worker))
  answer({ enrolled: identities.length })
}

const connectOne = (identity: Identity): void => {
  const assertion = (): Promise<string> => identity.assertion(systemClock.now())
  const link = new GatewayLink({
    connect: async () => {
      const token = await assertion()
      const session = { gateway, ca: null, token, program: PROGRAM, serving: true, handlers: {}, clock: systemClock }
      return (await dial(session)).peer
    },
    assertion,
    onOpen: async (peer) => {
      await peer.call('agent.inventory', {
        host: hostname(),
        machines: [announced(`m-${identity.record.agentId}`)],
        jobs: [],
      })
    },
    onState: (state) => (state.up ? note('up', null) : note('down', state.error.code)),
    clock: systemClock,
    random: Math.random,
  })
  void link.ended().then(({ code }) => note('ended', code))
}

process.on('message', (order: CrowdOrder) => {
  if (order.do === 'enrol') {
    void enrolAll(order)
  } else {
    setInterval(sendEvents, EVENTS_INTERVAL_MS)
    for (const identity of identities) connectOne(identity)
  }
})
// the parent's end, however it came, is ours too
process.on('disconnect', () => process.exit())
