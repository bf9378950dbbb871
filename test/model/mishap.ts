// What is done to a data folder between two lives, drawn by dice: parts go away and come back, the catalog is damaged, lost
// or an older copy.
import type { Dice } from '../support/model-dice.ts'

/** Every kind, in the order in which histories take their turns. */
export const MISHAPS = [
  'nodes-away',
  'ids-flipped',
  'catalog-older',
  'node-bit',
  'pages-garbled',
  'keys-gone',
  'data-away',
  'catalog-gone',
  'lock-gone',
] as const
export type MishapName = (typeof MISHAPS)[number]

/** Ids that are flipped, and pages that are garbled, at once. */
const IDS_MAX = 20
const PAGES_MAX = 8

export interface Mishap {
  readonly name: MishapName
  /** Of the dice that choose packs, records, pages or the copy among those that are there by then. */
  readonly seed: number
  /** Share of the packs that go away. */
  readonly share: number
  /** Ids or pages. */
  readonly count: number
  /** Whether ids are flipped through SQLite, so that all counts of the catalog agree with it, or below it. */
  readonly counted: boolean
  readonly garbling: 'bit' | 'zeroes' | 'random'
  /** What is done about a refused start: what was there is put back, or it is made anew. */
  readonly wayOut: 'back' | 'anew'
  /** Whether a life in which something fails comes before the one that meets it undisturbed. */
  readonly faulty: boolean
}

/** What happens, by dice alone. */
export const drawMishap = (name: MishapName, dice: Dice): Mishap => ({
  name,
  seed: dice.below(2 ** 30),
  share: dice.pick([0.3, 0.6, 1]),
  count: 1 + dice.below(name === 'ids-flipped' ? IDS_MAX : PAGES_MAX),
  counted: dice.chance(0.6),
  garbling: dice.pick(['bit', 'zeroes', 'random'] as const),
  wayOut: dice.pick(['back', 'anew', 'anew'] as const),
  faulty: dice.chance(0.3),
})
