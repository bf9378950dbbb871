// How long sessions are not read because of what their caller sends.
import { expect, test } from 'vitest'
import { AHEAD_MS, FRAME_MS, Pace, Paces, PAUSE_MS_MAX } from '../../../gateway/session/pace.ts'
import { encodeFrame, FRAME } from '../../../protocol/frames.ts'

const PING = encodeFrame([FRAME.ping, 0])
const FREE = AHEAD_MS / FRAME_MS

test('many frames at once cost nothing, more of them the time that they should have taken', () => {
  const pace = new Pace()
  const send = (count: number, nowMs: number): number => {
    let pauseMs = 0
    for (let index = 0; index < count; index++) pauseMs = pace.pauseMs(PING, nowMs)
    return pauseMs
  }
  expect(send(FREE, 5000)).toBe(0)
  expect(send(200, 5000)).toBe(200 * FRAME_MS)
  // who waited as told goes on where it was
  expect(send(200, 5000 + 200 * FRAME_MS)).toBe(200 * FRAME_MS)
  expect(send(FREE, 60_000)).toBe(0)
  expect(send(1_000_000, 60_000)).toBe(PAUSE_MS_MAX)
})

test('data, for which streams have credit, is never waited for', () => {
  const pace = new Pace()
  const data = encodeFrame([FRAME.data, 1, new Uint8Array(10)])
  const pauses = Array.from({ length: 10 * FREE }, () => pace.pauseMs(data, 0))
  expect(Math.max(...pauses)).toBe(0)
})

test('sessions of one caller have one pace, which goes with the last of them', () => {
  const paces = new Paces()
  const pace = paces.enter('a')
  expect(paces.enter('a')).toBe(pace)
  expect(paces.enter('b')).not.toBe(pace)
  paces.leave('a')
  expect(paces.count).toBe(2)
  paces.leave('a')
  paces.leave('b')
  expect(paces.count).toBe(0)
})
