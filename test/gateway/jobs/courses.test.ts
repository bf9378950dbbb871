// How running jobs go on: what agents told, what older ones do not, breaks, and nothing kept of what ended.
import { expect, test } from 'vitest'
import { Courses, TOLD_LIFE_MS } from '../../../gateway/jobs/courses.ts'
import { HandClock } from '../../support/hand-clock.ts'

const SENT = { overMs: 2000, readingMs: 100, compressingMs: 100, sendingMs: 1800, answersMs: 0 }

test('what an agent told lasts for a while, and the gateway’s part is of the same time', () => {
  const clock = new HandClock()
  const courses = new Courses(clock)
  courses.asked('a')
  expect(courses.look('a')).toMatchObject({ accepted: false, step: null, limit: null })
  courses.accepted('a')
  expect(courses.look('a').accepted).toBe(true)
  const hand = courses.uploading('a', 'vda', 0)
  hand.take()
  clock.advance(2000)
  courses.told('a', { step: 'disk', spent: SENT })
  expect(courses.look('a')).toMatchObject({ step: 'disk', limit: 'gateway' })
  hand.give()
  clock.advance(2000)
  courses.told('a', { step: 'disk', spent: SENT })
  expect(courses.look('a').limit).toBe('link')
  clock.advance(TOLD_LIFE_MS + 1)
  expect(courses.look('a')).toMatchObject({ step: 'disk', limit: null })
  courses.told('a', { step: 'check', spent: null })
  expect(courses.look('a')).toMatchObject({ step: 'check', limit: null })
})

test('of an older agent only a gateway that is never idle is named', () => {
  const clock = new HandClock()
  const courses = new Courses(clock)
  const hand = courses.uploading('a', 'vda', 0)
  clock.advance(5000)
  expect(courses.look('a').limit).toBeNull()
  hand.take()
  clock.advance(1000)
  // too short to say
  expect(courses.look('a').limit).toBeNull()
  clock.advance(5000)
  expect(courses.look('a').limit).toBe('gateway')
})

test('uploads that go on after a break are counted, also those of a gateway before; what ended is forgotten', () => {
  const clock = new HandClock(1000)
  const courses = new Courses(clock)
  courses.uploading('a', 'vda', 0)
  courses.uploading('a', 'vdb', 0)
  expect(courses.look('a')).toMatchObject({ resumes: 0, resumedMs: null })
  clock.advance(5)
  courses.uploading('a', 'vdb', 0)
  courses.uploading('b', 'vda', 7)
  expect(courses.look('a')).toMatchObject({ resumes: 1, resumedMs: 1005 })
  expect(courses.look('b')).toMatchObject({ resumes: 1, accepted: true })
  const { forgotten } = courses
  courses.forget('a')
  expect(courses.forgotten).toBe(forgotten + 1)
  // the answer of its agent came too late
  courses.accepted('a')
  expect(courses.look('a')).toMatchObject({ resumes: 0, accepted: true, step: null })
  expect(courses.count).toBe(1)
})
