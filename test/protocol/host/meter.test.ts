// What a line of progress says, by known amounts and times.
import { expect, test } from 'vitest'
import { Meter } from '../../../protocol/host/meter.ts'

const GIB = 2 ** 30
const MIB = 2 ** 20

test('says how much of how much, how fast, and how long it takes', () => {
  const meter = new Meter()
  meter.add(0, 0)
  expect(meter.text(0, 40 * GIB)).toBe('0 B of 40.0 GiB (0 %)')
  meter.add(10_000, 1800 * MIB)
  expect(meter.text(1800 * MIB, 40 * GIB)).toBe('1.8 GiB of 40.0 GiB (4 %), 180 MiB/s, 4 min left')
  expect(meter.text(1800 * MIB, null)).toBe('1.8 GiB, 180 MiB/s')
  expect(meter.text(5, 0)).toBe('5 B, 180 MiB/s')
})

test('follows a change of rate, and what stands still has none', () => {
  const meter = new Meter()
  for (let second = 0; second <= 60; second++) meter.add(second * 1000, Math.min(second, 30) * MIB)
  expect(meter.perSecond).toBe(0)
  expect(meter.text(30 * MIB, 60 * MIB)).toBe('30.0 MiB of 60.0 MiB (50 %)')
  for (let second = 61; second <= 120; second++) meter.add(second * 1000, (30 + (second - 60) * 2) * MIB)
  expect(meter.perSecond).toBe(2 * MIB)
})

test('says nothing of rate before a second has passed, and begins anew where work does', () => {
  const meter = new Meter()
  meter.add(0, 0)
  meter.add(999, MIB)
  expect(meter.perSecond).toBe(null)
  meter.add(2000, 2 * MIB)
  meter.add(2001, 0)
  expect(meter.perSecond).toBe(null)
})

test('counts other things than bytes', () => {
  const meter = new Meter()
  const many = (value: number): string => `${Math.round(value)}`
  meter.add(0, 0)
  meter.add(2000, 50)
  expect(meter.text(50, 100, many)).toBe('50 of 100 (50 %), 25/s, 2 s left')
})
