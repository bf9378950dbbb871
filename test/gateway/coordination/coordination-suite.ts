// The conformance suite of coordination: what every engine must do, called by each engine's own test. It is the specification.
import { randomBytes, randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import type { Coordination, Held, Lease, Protection } from '../../../gateway/coordination/coordination.ts'

const id = (): Uint8Array => new Uint8Array(randomBytes(32))

/** Those of the ids that the protection covers. */
const covered = (protection: Protection, ids: readonly Uint8Array[]): Promise<boolean[]> =>
  protection.uncovered(ids, async (places) => ids.map((_, at) => !places.includes(at)))

const taken = async (asked: ReturnType<Coordination['take']>): Promise<Lease> => {
  const answer = await asked
  if ('held' in answer) throw new Error(`held for ${answer.held.what}`)
  return answer.lease
}

const refused = async (asked: ReturnType<Coordination['take']>): Promise<Held> => {
  const answer = await asked
  if ('lease' in answer) throw new Error('not held')
  return answer.held
}

/** `join` gives what another writer into the same datastore has; `setUp` makes the place in which they meet. */
export const coordinationSuite = (
  engine: string,
  setUp: () => Promise<{ join: () => Promise<Coordination> } & AsyncDisposable>,
): void => {
  describe(`references of the ${engine} coordination`, () => {
    test('cover what holders relied on when the collection began, and what is touched from then on', async () => {
      await using place = await setUp()
      const [writer, collector] = await Promise.all([place.join(), place.join()])
      const tenant = randomUUID()
      const references = writer.references(tenant)
      const [before, held, touched, never] = [id(), id(), id(), id()]
      await references.touch([before])
      const ids = [held]
      const holder = references.hold({ ids: () => ids })
      await using protection = await collector.references(tenant).protect()
      // given up by its holder, but whoever it was told to may rely on it still
      holder[Symbol.dispose]()
      ids.length = 0
      await references.touch([touched])
      expect(await covered(protection, [before, held, touched, never])).toEqual([false, true, true, false])
    })

    test('protect nothing for a holder that is gone when the collection begins, and nothing of another tenant', async () => {
      await using place = await setUp()
      const coordination = await place.join()
      const tenant = randomUUID()
      const [one, other] = [id(), id()]
      const gone = coordination.references(tenant).hold({ ids: () => [one] })
      gone[Symbol.dispose]()
      using _held = coordination.references(randomUUID()).hold({ ids: () => [other] })
      await using protection = await coordination.references(tenant).protect()
      expect(await covered(protection, [one, other])).toEqual([false, false])
    })

    test('name the trees that are being read at the time of asking', async () => {
      await using place = await setUp()
      const [writer, collector] = await Promise.all([place.join(), place.join()])
      const tenant = randomUUID()
      const references = writer.references(tenant)
      const [first, second] = [
        { root: id(), chunks: 5 },
        { root: null, chunks: 7 },
      ]
      const reading = references.hold({ tree: first })
      await using protection = await collector.references(tenant).protect()
      using _late = references.hold({ tree: second })
      using _other = references.hold({ ids: () => [] })
      expect(await protection.trees()).toEqual([first, second])
      reading[Symbol.dispose]()
      expect(await protection.trees()).toEqual([second])
    })

    test('serve one collection at a time, and the next one begins afresh', async () => {
      await using place = await setUp()
      const [one, other] = await Promise.all([place.join(), place.join()])
      const tenant = randomUUID()
      const some = id()
      const protection = await one.references(tenant).protect()
      await one.references(tenant).touch([some])
      await expect(other.references(tenant).protect()).rejects.toMatchObject({ code: 'MAINTENANCE_RUNNING' })
      expect(await covered(protection, [some])).toEqual([true])
      await using _elsewhere = await other.references(randomUUID()).protect()
      await protection[Symbol.asyncDispose]()
      await using next = await other.references(tenant).protect()
      expect(await covered(next, [some])).toEqual([false])
    })

    test('let nobody come to rely on an id between the look at it and what is queued then', async () => {
      await using place = await setUp()
      const [writer, collector] = await Promise.all([place.join(), place.join()])
      const tenant = randomUUID()
      const one = id()
      const order: string[] = []
      await using protection = await collector.references(tenant).protect()
      const removal = protection.uncovered([one], async (places) => void order.push(`removes ${places.length}`))
      await writer.references(tenant).touch([one])
      order.push('looks up')
      await removal
      // either way round is safe: a removal before the look-up, or none
      expect([
        ['removes 1', 'looks up'],
        ['looks up', 'removes 0'],
      ]).toContainEqual(order)
    })
  })

  describe(`leases of the ${engine} coordination`, () => {
    test('one holder at a time, whoever asks; the refused learns what for and when it ends', async () => {
      await using place = await setUp()
      const [one, other] = await Promise.all([place.join(), place.join()])
      const lease = await taken(one.take('a', 'collecting'))
      const held = await refused(other.take('a', 'verifying'))
      expect(held.what).toBe('collecting')
      await using _free = await taken(other.take('b', 'verifying'))
      expect(lease.lost.aborted).toBe(false)
      await lease[Symbol.asyncDispose]()
      await held.ended
      await using _next = await taken(other.take('a', 'verifying'))
      // given back twice takes nothing from the next one
      await lease[Symbol.asyncDispose]()
      await refused(one.take('a', 'collecting'))
    })

    test('of many who ask at once one has it', async () => {
      await using place = await setUp()
      const all = await Promise.all(Array.from({ length: 8 }, () => place.join()))
      const answers = await Promise.all(all.map((one) => one.take('a', 'work')))
      expect(answers.filter((answer) => 'lease' in answer)).toHaveLength(1)
    })

    test('each has a larger fence than those before it', async () => {
      await using place = await setUp()
      const fences: number[] = []
      for (let turn = 0; turn < 5; turn++) {
        await using lease = await taken((await place.join()).take('a', 'work'))
        fences.push(lease.fence)
      }
      expect(fences).toEqual([...new Set(fences)].sort((a, b) => a - b))
    })

    test('two that look at each other as they are taken never both see the other', async () => {
      await using place = await setUp()
      const [one, other] = await Promise.all([place.join(), place.join()])
      const [a, b] = await Promise.all([taken(one.take('a', 'first', 'b')), taken(other.take('b', 'second', 'a'))])
      expect([a.beside, b.beside].filter((beside) => beside === null)).toHaveLength(1)
      expect((a.beside ?? b.beside)?.what).toBe(a.beside === null ? 'first' : 'second')
      await using _b = b
      await using _a = a
    })
  })
}
