// Turns: how many run at once, who is next, who leaves, and that nothing is kept of who is done.
// Method: work that ends when the test says so; what has begun is counted, nothing is timed.
import { describe, expect, test } from 'vitest'
import { Turns, type TurnLimits } from '../../../gateway/session/turns.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { codeOf } from '../auth/test-authority.ts'

const LIMITS: TurnLimits = { atOnce: 3, tenantAtOnce: 2, sessionAtOnce: 1, tenantWaiting: 5 }

/** Work by name, in the order in which it began. */
class Bench {
  readonly turns: Turns
  readonly began: string[] = []
  readonly #open = new Map<string, () => void>()

  constructor(limits: Partial<TurnLimits> = {}) {
    this.turns = new Turns({ ...LIMITS, ...limits })
  }

  run(tenant: string, session: object, name: string, signal = new AbortController().signal): Promise<string> {
    return this.turns.run({ tenant, session, signal }, async () => {
      this.began.push(name)
      await new Promise<void>((resolve) => this.#open.set(name, resolve))
      return name
    })
  }

  async end(name: string): Promise<void> {
    this.#open.get(name)!()
    await this.settle()
  }

  async settle(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve))
  }
}

describe('turns', () => {
  test('one at once of a session, two of a tenant, three of all; the others in their order', async () => {
    const bench = new Bench()
    const [a, b, c, d] = [{}, {}, {}, {}]
    for (const name of ['a1', 'a2', 'a3']) void bench.run('1', a, name)
    void bench.run('1', b, 'b1')
    void bench.run('1', c, 'c1')
    for (const name of ['d1', 'd2']) void bench.run('2', d, name)
    await bench.settle()
    expect(bench.began).toEqual(['a1', 'b1', 'd1'])
    await bench.end('b1')
    // the session that has waited longest, and not the one that has asked most
    expect(bench.began.slice(3)).toEqual(['c1'])
    await bench.end('a1')
    expect(bench.began.slice(4)).toEqual(['a2'])
    await bench.end('d1')
    expect(bench.began.slice(5)).toEqual(['d2'])
  })

  test('a tenant that has asked for much does not come before one that has asked for one thing', async () => {
    const bench = new Bench({ atOnce: 1, tenantWaiting: 1000 })
    const crowd = Array.from({ length: 64 }, (_, index) => bench.run('1', {}, `x${index}`))
    void bench.run('2', {}, 'y')
    await bench.settle()
    expect(bench.began).toEqual(['x0'])
    await bench.end('x0')
    await bench.end('x1')
    // one of each in turn
    expect(bench.began).toEqual(['x0', 'x1', 'y'])
    await bench.end('y')
    for (let index = 2; index < 64; index++) await bench.end(`x${index}`)
    expect(await Promise.all(crowd)).toEqual(Array.from({ length: 64 }, (_, index) => `x${index}`))
    expect(bench.turns.busy).toBe(0)
  })

  test('past the bound a tenant is refused, and no other one', async () => {
    const bench = new Bench()
    const session = {}
    const calls = Array.from({ length: 1 + LIMITS.tenantWaiting }, (_, index) => bench.run('1', session, `x${index}`))
    expect(await codeOf(bench.run('1', {}, 'late'))).toBe('TOO_MANY_REQUESTS')
    void bench.run('2', {}, 'y')
    await bench.settle()
    expect(bench.began).toEqual(['x0', 'y'])
    await bench.end('x0')
    expect(await calls[0]).toBe('x0')
    void bench.run('1', session, 'again')
    expect(await codeOf(bench.run('1', session, 'late'))).toBe('TOO_MANY_REQUESTS')
  })

  test('who gives up leaves the queue, and what fails gives its turn on', async () => {
    const bench = new Bench({ atOnce: 1 })
    const abort = new AbortController()
    const failing = bench.turns.run({ tenant: '1', session: {}, signal: abort.signal }, async () => {
      await bench.settle()
      throw new VarveError('NOT_FOUND', 'gone')
    })
    const gone = bench.run('1', {}, 'gone', abort.signal)
    void bench.run('1', {}, 'next')
    abort.abort(new VarveError('CANCELLED', 'enough'))
    expect(await codeOf(gone)).toBe('CANCELLED')
    expect(await codeOf(failing)).toBe('NOT_FOUND')
    await bench.settle()
    expect(bench.began).toEqual(['next'])
    await bench.end('next')
    expect(bench.turns.busy).toBe(0)
    expect(await codeOf(bench.run('1', {}, 'never', abort.signal))).toBe('CANCELLED')
    expect(bench.turns.busy).toBe(0)
  })
})
