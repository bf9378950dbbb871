// The standing connection on a clock that the test moves, against a gateway that the test plays.
import { describe, expect, test } from 'vitest'
import { GatewayLink, isBreak, keepRenewed, type LinkOptions } from '../../../agent/session/link.ts'
import { ASSERTION_LIFE_S } from '../../../protocol/claims.ts'
import { VarveError, type ErrorCode } from '../../../protocol/errors.ts'
import type { Handlers, Peer } from '../../../protocol/peer.ts'
import { codeOf } from '../restore/code-of.ts'
import { HandClock, settle } from '../../support/hand-clock.ts'
import { peerPair, type PeerPair } from './peer-pair.ts'

const lost = (): VarveError => new VarveError('CONNECTION_LOST', 'gone')

interface Bench extends AsyncDisposable {
  readonly clock: HandClock
  readonly link: GatewayLink
  /** Every connection that was made. */
  readonly pairs: PeerPair[]
  /** How the link said it was: `up`, or the code with the pause before the next attempt. */
  readonly states: string[]
  attempts: number
}

/** A link whose attempts fail with the errors given, in order, and then succeed. */
const bench = (options: Partial<LinkOptions> & { failures?: VarveError[]; handlers?: Handlers } = {}): Bench => {
  const clock = new HandClock()
  const { failures = [], handlers = {}, ...rest } = options
  const pairs: PeerPair[] = []
  const states: string[] = []
  const made = { attempts: 0 }
  const link = new GatewayLink({
    connect: async () => {
      made.attempts++
      const failure = failures.shift()
      if (failure !== undefined) throw failure
      const pair = peerPair(handlers, clock)
      pairs.push(pair)
      return pair.agent
    },
    assertion: async () => 'assertion',
    onOpen: async () => undefined,
    onState: (state) => void states.push(state.up ? 'up' : `${state.error.code} ${state.retryMs}`),
    clock,
    random: () => 1,
    ...rest,
  })
  return {
    clock,
    link,
    pairs,
    states,
    get attempts() {
      return made.attempts
    },
    [Symbol.asyncDispose]: () => link[Symbol.asyncDispose](),
  }
}

describe('backoff', () => {
  test('grows while the gateway is away and begins anew after a connection', async () => {
    await using run = bench({ failures: [lost(), lost(), lost()] })
    await settle()
    await run.clock.advanceSettled(500 + 1000 + 2000)
    expect(run.states).toEqual(['CONNECTION_LOST 500', 'CONNECTION_LOST 1000', 'CONNECTION_LOST 2000', 'up'])
    run.pairs[0]!.gateway.close(new VarveError('GOING_AWAY', 'stopping'))
    await settle()
    expect(run.states.at(-1)).toBe('GOING_AWAY 500')
    await run.clock.advanceSettled(500)
    expect(run.states.at(-1)).toBe('up')
  })

  test('also grows when the gateway answers but the connection cannot be opened', async () => {
    let opened = 0
    const onOpen = async (): Promise<void> => {
      if (++opened < 3) throw new VarveError('STORE_FAILED', 'not now')
    }
    await using run = bench({ onOpen })
    await settle()
    await run.clock.advanceSettled(1500)
    expect(run.states).toEqual(['STORE_FAILED 500', 'STORE_FAILED 1000', 'up'])
    expect(await run.pairs[0]!.agent.closed).toMatchObject({ code: 'STORE_FAILED' })
  })
})

describe('what a person must act on', () => {
  const fatal: ErrorCode[] = [
    'AGENT_REVOKED',
    'TOKEN_KEY_UNKNOWN',
    'TOKEN_SIGNATURE',
    'TOKEN_AUDIENCE',
    'REPLACED',
    'VERSION_UNSUPPORTED',
  ]

  test.each(fatal)('%s ends the link for good, at the start', async (code) => {
    const run = bench({ failures: [new VarveError(code, 'no')] })
    const waiting = codeOf(run.link.peer())
    expect((await run.link.ended()).code).toBe(code)
    expect(await waiting).toBe(code)
    expect(await codeOf(run.link.peer())).toBe(code)
    await run.clock.advanceSettled(3_600_000)
    expect(run.attempts).toBe(1)
    expect(run.clock.waiting).toBe(0)
  })

  test('and on an open connection', async () => {
    const run = bench()
    const peer = await run.link.peer()
    run.pairs[0]!.gateway.close(new VarveError('REPLACED', 'another'))
    expect((await run.link.ended()).code).toBe('REPLACED')
    expect((await peer.closed).code).toBe('REPLACED')
    expect(isBreak(new VarveError('REPLACED', 'another'))).toBe(false)
  })
})

describe('repeat', () => {
  test('does the work again on the next connection after each break', async () => {
    await using run = bench()
    const used: Peer[] = []
    const work = run.link.repeat(async (peer) => {
      used.push(peer)
      if (used.length === 3) return 'done'
      run.pairs.at(-1)!.gateway.close(new VarveError('GOING_AWAY', 'stopping'))
      return await peer.call('machines.list', {})
    })
    for (let step = 0; step < 10; step++) await run.clock.advanceSettled(500)
    expect(await work).toBe('done')
    expect(new Set(used).size).toBe(3)
  })

  test('passes on errors of the work, and those that only tell of another connection', async () => {
    const handlers: Handlers = {
      'machines.list': async () => Promise.reject(new VarveError('ROLE_FORBIDDEN', 'no')),
      // what a gateway says whose own connection to the agent broke while it asked
      'machines.status': async () => Promise.reject(lost()),
    }
    await using run = bench({ handlers })
    expect(await codeOf(run.link.call('machines.list', {}))).toBe('ROLE_FORBIDDEN')
    const relayed = codeOf(run.link.call('machines.status', { machine: 'db1' }))
    await settle(20)
    await run.clock.advanceSettled(1000)
    expect(await relayed).toBe('CONNECTION_LOST')
    expect(run.attempts).toBe(1)
  })

  test('gives up when it is told to, or when the gateway is away for too long', async () => {
    await using run = bench({ failures: Array.from({ length: 100 }, lost) })
    const abort = new AbortController()
    const given = codeOf(run.link.call('machines.list', {}, abort.signal))
    const limited = codeOf(run.link.call('machines.list', {}, undefined, 60_000))
    await settle()
    abort.abort(new VarveError('CANCELLED', 'enough'))
    expect(await given).toBe('CANCELLED')
    expect(await codeOf(run.link.peer(abort.signal))).toBe('CANCELLED')
    await run.clock.advanceSettled(59_000)
    let over = false
    void limited.then(() => (over = true))
    await settle()
    expect(over).toBe(false)
    await run.clock.advanceSettled(1000)
    expect(await limited).toBe('CONNECTION_LOST')
  })
})

describe('an end', () => {
  test('rejects who waits, closes the connection and leaves no timer', async () => {
    const away = bench({ failures: Array.from({ length: 100 }, lost) })
    const waiting = codeOf(away.link.peer(new AbortController().signal, 1e9))
    await settle()
    await away.link[Symbol.asyncDispose]()
    expect(await waiting).toBe('CANCELLED')
    expect(away.clock.waiting).toBe(0)

    const open = bench()
    const peer = await open.link.peer()
    await open.link[Symbol.asyncDispose]()
    expect((await peer.closed).code).toBe('CANCELLED')
    await settle()
    expect(open.clock.waiting).toBe(0)
  })

  test('does not wait for a gateway that never answers the first call', async () => {
    const handlers: Handlers = { 'agent.inventory': () => new Promise(() => undefined) }
    const onOpen = async (peer: Peer): Promise<void> => {
      await peer.call('agent.inventory', { host: 'h', machines: [], jobs: [] })
    }
    const run = bench({ handlers, onOpen })
    await settle()
    await run.link[Symbol.asyncDispose]()
    expect((await run.pairs[0]!.agent.closed).code).toBe('CANCELLED')
  })

  test('refuses a connection that comes too late', async () => {
    const connected = Promise.withResolvers<Peer>()
    const clock = new HandClock()
    const run = bench({ connect: () => connected.promise })
    await settle()
    const ending = run.link[Symbol.asyncDispose]()
    const { agent } = peerPair({}, clock)
    connected.resolve(agent)
    await ending
    expect((await agent.closed).code).toBe('CANCELLED')
  })
})

describe('a session', () => {
  test('is renewed before it ends, as long as the connection lives', async () => {
    const clock = new HandClock()
    const renewals: number[] = []
    let tokens = 0
    const { agent } = peerPair(
      {
        'session.renew': async ({ token }) => {
          expect(token).toBe(`assertion ${++tokens}`)
          renewals.push(clock.now())
          return { expiresMs: clock.now() + ASSERTION_LIFE_S * 1000 }
        },
      },
      clock,
    )
    let made = 0
    keepRenewed(agent, async () => `assertion ${++made}`, clock)
    await clock.advanceSettled(3_600_000)
    const gaps = [0, ...renewals].map((ms, index, all) => (all[index + 1] ?? 3_600_000) - ms)
    expect(renewals.length).toBeGreaterThan(10)
    // an assertion was made for its whole life; the next comes with time to spare for a slow answer
    expect(Math.max(...gaps)).toBeLessThanOrEqual((ASSERTION_LIFE_S * 1000) / 2)
    agent.close(new VarveError('CANCELLED', 'done'))
    await settle()
    expect(clock.waiting).toBe(0)
  })

  test('that cannot be renewed ends as a break, so that what was under way is tried again', async () => {
    const clock = new HandClock()
    const { agent } = peerPair({ 'session.renew': async () => Promise.reject(new Error('database is locked')) }, clock)
    keepRenewed(agent, async () => 'assertion', clock)
    await clock.advanceSettled(ASSERTION_LIFE_S * 1000)
    const error = await agent.closed
    expect(isBreak(error)).toBe(true)
    expect(error.message).toContain('database is locked')
  })

  test('of a revoked agent ends with that', async () => {
    const clock = new HandClock()
    const { agent } = peerPair(
      { 'session.renew': async () => Promise.reject(new VarveError('AGENT_REVOKED', 'revoked')) },
      clock,
    )
    keepRenewed(agent, async () => 'assertion', clock)
    await clock.advanceSettled(ASSERTION_LIFE_S * 1000)
    expect((await agent.closed).code).toBe('AGENT_REVOKED')
  })
})
