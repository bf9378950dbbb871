// What is asked of the base ahead is asked once, and answers only the question that it was.
import { expect, test } from 'vitest'
import { contentAhead } from '../../agent/base-content.ts'
import { CONTENT_CHUNKS_FIRST } from '../../agent/image/compare.ts'
import { VarveError } from '../../protocol/errors.ts'
import type { Params } from '../../protocol/methods.ts'
import type { GatewayLink } from '../../agent/session/link.ts'

const CHUNK = 65_536
const disk = { name: 'vda', size: 10 * CHUNK, reread: [], evidence: null, missed: false }

const order = (more: object = {}): Params<'agent.backup'> =>
  ({
    job: 'j',
    full: false,
    compare: false,
    chunkBytes: CHUNK,
    base: { checkpoint: 'c', disks: [disk] },
    ...more,
  }) as never

const gateway = (fails = 0) => {
  const asked: object[] = []
  const call = async (_name: string, params: object): Promise<object> => {
    asked.push(params)
    if (asked.length <= fails) throw new VarveError('INTERNAL', 'once')
    return { positions: [asked.length], next: null }
  }
  const link = { call } as unknown as GatewayLink
  return { asked, uses: { link: () => link, signal: new AbortController().signal, awayMs: 1 } }
}

const FIRST = { disk: 'vda', before: 10, limit: CONTENT_CHUNKS_FIRST }

test('the first question of a continued disk is on its way at once', async () => {
  const { asked, uses } = gateway()
  const content = contentAhead(order(), uses)
  expect(asked).toEqual([{ job: 'j', ...FIRST }])
  expect((await content(FIRST)).positions).toEqual([1])
  expect((await content({ ...FIRST, before: 5 })).positions).toEqual([2])
})

test('one that failed is asked again', async () => {
  const { asked, uses } = gateway(1)
  expect((await contentAhead(order(), uses)(FIRST)).positions).toEqual([2])
  expect(asked.length).toBe(2)
})

test.each([
  ['a full backup', { full: true }],
  ['a comparison of all', { compare: true }],
  ['one without a base', { base: null }],
  ['a base without a checkpoint', { base: { checkpoint: null, disks: [disk] } }],
  ['a disk that is read in full', { base: { checkpoint: 'c', disks: [{ ...disk, reread: null }] } }],
  ['a disk whose bitmap missed changes', { base: { checkpoint: 'c', disks: [{ ...disk, missed: true }] } }],
])('%s asks nothing ahead', (_what, more) => {
  const { asked, uses } = gateway()
  contentAhead(order(more), uses)
  expect(asked).toEqual([])
})
