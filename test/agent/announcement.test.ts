// An announcement goes out once for a connection, ahead of what is sent behind it, and again where a connection broke under it.
import { expect, test } from 'vitest'
import { Announcement } from '../../agent/announcement.ts'
import { Steps } from '../../agent/steps.ts'
import { VarveError } from '../../protocol/errors.ts'
import { systemClock } from '../../protocol/host/clock.ts'
import type { Peer } from '../../protocol/peer.ts'

const BEGUN = { job: 'a3b9c1d2-0000-4000-8000-000000000001' } as unknown as ConstructorParameters<
  typeof Announcement
>[0]

/** A connection whose announcements are answered by the test. */
const connection = () => {
  const asked: PromiseWithResolvers<object>[] = []
  const call = (): Promise<object> => {
    const answer = Promise.withResolvers<object>()
    asked.push(answer)
    return answer.promise
  }
  return { asked, peer: { call } as unknown as Peer }
}

const { signal } = new AbortController()

test('works do not wait for its answer on the way, but for it in the end', async () => {
  const announcement = new Announcement(BEGUN, new Steps(systemClock))
  const { asked, peer } = connection()
  const done: string[] = []
  const works = ['disk', 'file'].map((name) =>
    announcement.before(peer, signal, async () => void done.push(name)).then(() => done.push(`${name} ended`)),
  )
  await Promise.resolve()
  expect([asked.length, done]).toEqual([1, ['disk', 'file']])
  asked[0]!.resolve({})
  await Promise.all(works)
  expect(done).toEqual(['disk', 'file', 'disk ended', 'file ended'])
  // once it is answered, later works are on their own
  await announcement.before(connection().peer, signal, async () => void done.push('late'))
  expect(done.at(-1)).toBe('late')
})

test('what it fails with ends the works, and is what they fail with', async () => {
  const announcement = new Announcement(BEGUN, new Steps(systemClock))
  const { asked, peer } = connection()
  const refusal = new VarveError('FULL_REFUSED', 'by the plan')
  const work = announcement.before(peer, signal, async (until) => {
    await new Promise((resolve) => until.addEventListener('abort', resolve))
    throw new VarveError('JOB_ENDED', 'as a consequence')
  })
  asked[0]!.reject(refusal)
  await expect(work).rejects.toBe(refusal)
})

test('after a break it goes out again on the next connection', async () => {
  const announcement = new Announcement(BEGUN, new Steps(systemClock))
  const first = connection()
  const work = announcement.before(first.peer, signal, async () => {})
  first.asked[0]!.reject(new VarveError('CONNECTION_LOST', 'broke'))
  await expect(work).rejects.toMatchObject({ code: 'CONNECTION_LOST' })
  const next = connection()
  const again = announcement.before(next.peer, signal, async () => 'done')
  next.asked[0]!.resolve({})
  expect(await again).toBe('done')
})
