// What a scenario of the benchmark is given and what it gives back.
import { mkdir, rm } from 'node:fs/promises'
import path from 'node:path'

/** One measured value beside what is aimed at. */
export interface Goal {
  readonly title: string
  readonly value: number
  /** Null: reported only. */
  readonly goal: { readonly atMost: number } | { readonly atLeast: number } | null
  /** Null when reported only. */
  readonly met: boolean | null
  /** Of the value; a ratio has none. */
  readonly unit?: string
}

/** One table; all columns but the first are shown aligned to the right. */
export interface Table {
  readonly title: string
  readonly heading: readonly string[]
  readonly rows: readonly (readonly string[])[]
}

export interface Report {
  readonly tables: readonly Table[]
  readonly goals: readonly Goal[]
  /** Paragraphs: how it was measured, and what to know when reading it. */
  readonly notes: readonly string[]
  /** Everything that was measured, for programs; must survive JSON. */
  readonly details: unknown
}

export interface ScenarioContext {
  /** A folder kept between runs, for what is dear to make. */
  readonly cache: string
  /** A fresh folder of the scenario's own, removed afterwards. */
  readonly folder: string
  readonly rounds: number
  /** Small and fast, to see that all works. */
  readonly quick: boolean
  readonly signal: AbortSignal
  /** Tells the person who waits how far it is; not part of the results. */
  say(line: string): void
}

export type Work = (context: ScenarioContext) => Promise<Report>

export interface Scenario {
  /** As on the command line and in the names of the results. */
  readonly name: string
  readonly title: string
  readonly run: Work
  /** Parts of it that can be run alone. */
  readonly parts?: Parts
}

export type Parts = Readonly<Record<string, Work>>

/** Runs parts one after the other and joins their reports; each has a folder of its own that is gone afterwards. */
export const inParts =
  (parts: Parts): Work =>
  async (context) => {
    const reports: [name: string, report: Report][] = []
    for (const [name, work] of Object.entries(parts)) {
      const folder = path.join(context.folder, name)
      await mkdir(folder)
      try {
        reports.push([name, await work({ ...context, folder })])
      } finally {
        await rm(folder, { recursive: true, force: true })
      }
    }
    return {
      tables: reports.flatMap(([, { tables }]) => tables),
      goals: reports.flatMap(([, { goals }]) => goals),
      notes: reports.flatMap(([, { notes }]) => notes),
      details: Object.fromEntries(reports.map(([name, { details }]) => [name, details])),
    }
  }

/** A goal with its verdict; values are rounded to three decimals. */
export const judge = (title: string, value: number, goal: Goal['goal'], unit?: string): Goal => ({
  title,
  value: Number(value.toFixed(3)),
  goal,
  met: goal === null ? null : 'atMost' in goal ? value <= goal.atMost : value >= goal.atLeast,
  ...(unit === undefined ? {} : { unit }),
})
