// What rules of retention would do: which points stay and by which rule, and which go, beside what the rules of now do. Pure.
import type { PrunedPoint } from '../../../protocol/maintenance.ts'
import type { KeepReason } from '../../../protocol/retention.ts'

/** `stays`; `goes` by the new rules alone; `anyway`: by the rules of now too; `saved`: only the rules of now remove it. */
export type Fate = 'stays' | 'goes' | 'anyway' | 'saved'

export interface FatedPoint {
  readonly point: string
  readonly timeMs: number
  readonly keptBy: readonly KeepReason[]
  readonly fate: Fate
  /** Its place on the machine's strip, 0 to 1 from the oldest to the newest of all. */
  readonly place: number
}

export interface FatedMachine {
  readonly machine: string
  readonly points: readonly FatedPoint[]
  readonly counts: Readonly<Record<Fate, number>>
}

export interface WhatIf {
  /** Those that lose most first. */
  readonly machines: readonly FatedMachine[]
  readonly counts: Readonly<Record<Fate, number>>
  /** How many points each rule keeps, a point that several keep with each of them. */
  readonly byRule: readonly (readonly [rule: KeepReason, points: number])[]
  readonly fromMs: number
  readonly untilMs: number
}

const fateOf = (goesNow: boolean, goesThen: boolean): Fate => {
  if (goesThen) return goesNow ? 'anyway' : 'goes'
  return goesNow ? 'saved' : 'stays'
}

const counted = (points: readonly { readonly fate: Fate }[]): Record<Fate, number> => {
  const counts = { stays: 0, goes: 0, anyway: 0, saved: 0 }
  for (const { fate } of points) counts[fate]++
  return counts
}

/** `now` and `wanted` are dry runs by the rules of now and by other ones; a point that only one of them knows is left out. */
export const whatIfOf = (now: readonly PrunedPoint[], wanted: readonly PrunedPoint[]): WhatIf => {
  const before = new Map(now.map((one) => [one.point, one]))
  const known = wanted.filter(({ point }) => before.has(point))
  const times = known.map(({ timeMs }) => timeMs)
  const fromMs = times.reduce((least, time) => Math.min(least, time), times[0] ?? 0)
  const untilMs = times.reduce((most, time) => Math.max(most, time), times[0] ?? 0)
  const fated = known.map(({ point, machine, timeMs, keptBy }) => ({
    machine,
    point,
    timeMs,
    keptBy,
    fate: fateOf(before.get(point)!.keptBy.length === 0, keptBy.length === 0),
    place: untilMs === fromMs ? 1 : (timeMs - fromMs) / (untilMs - fromMs),
  }))
  const machines = [...Map.groupBy(fated, ({ machine }) => machine)].map(([machine, points]) => ({
    machine,
    points: points.map(({ machine: _, ...rest }) => rest).toSorted((a, b) => a.timeMs - b.timeMs),
    counts: counted(points),
  }))
  const rules = new Map<KeepReason, number>()
  for (const { keptBy } of known) for (const rule of keptBy) rules.set(rule, (rules.get(rule) ?? 0) + 1)
  return {
    machines: machines.toSorted((a, b) => b.counts.goes - a.counts.goes || (a.machine < b.machine ? -1 : 1)),
    counts: counted(fated),
    byRule: [...rules].toSorted(([, a], [, b]) => b - a),
    fromMs,
    untilMs,
  }
}
