// Which plan a machine belongs to: exactly one, or none. Pure.
import type { Plan } from '../../protocol/plans.ts'

/** What tells which plan covers a machine. */
export interface CoveredMachine {
  readonly name: string
  readonly group: string | null
}

/** Characters of a pattern, but for its `*`, that fit into two words of bits. */
const BITS_MAX = 63

/** By character and word: which places of the pattern at hand are that character. Empty between two calls. */
const placesOf = new Int32Array(2 * 128)

/**
 * Whether a name fits a pattern of `*` and `?`; as many steps as both have characters, as a pattern is anybody's: it holds all
 * places of the pattern at once, as bits, that the name may have reached.
 */
export const fits = (pattern: string, name: string): boolean => {
  let places = 0
  const any = [0, 0] as [number, number]
  const stars = [0, 0] as [number, number]
  for (let read = 0; read < pattern.length; read++) {
    const char = pattern.charCodeAt(read)
    const word = places >> 5
    const bit = 1 << (places & 31)
    if (char === STAR) stars[word as 0 | 1] |= bit
    else if (char >= 128 || places >= BITS_MAX) {
      placesOf.fill(0)
      return fitsSlowly(pattern, name)
    } else {
      if (char === QUESTION) any[word as 0 | 1] |= bit
      else placesOf[2 * char + word]! |= bit
      places++
    }
  }
  let low = 1
  let high = 0
  for (let read = 0; read < name.length && (low | high) !== 0; read++) {
    const char = name.charCodeAt(read)
    const isKnown = char < 128
    const lowOn = low & (any[0] | (isKnown ? placesOf[2 * char]! : 0))
    const highOn = high & (any[1] | (isKnown ? placesOf[2 * char + 1]! : 0))
    high = (highOn << 1) | (lowOn >>> 31) | (high & stars[1])
    low = (lowOn << 1) | (low & stars[0])
  }
  placesOf.fill(0)
  return (((places < 32 ? low : high) >>> (places & 31)) & 1) === 1
}

const STAR = 42
const QUESTION = 63

/** The same for patterns that are longer, or of other characters: at most the product of their lengths in steps. */
const fitsSlowly = (pattern: string, name: string): boolean => {
  let at = 0
  let star = -1
  let resume = 0
  for (let read = 0; read < name.length;) {
    if (pattern[at] === '*') {
      star = at++
      resume = read
    } else if (at < pattern.length && (pattern[at] === '?' || pattern[at] === name[read])) {
      at++
      read++
    } else if (star >= 0) {
      at = star + 1
      read = ++resume
    } else return false
  }
  while (pattern[at] === '*') at++
  return at === pattern.length
}

const byName = (a: Plan, b: Plan): number => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0)

/** The longer pattern is nearer; of patterns of one length the first by its text. */
const nearer = (a: string, b: string): number => b.length - a.length || (a < b ? -1 : a > b ? 1 : 0)

/**
 * Gives the plan of a machine: the one that names it, else the one that names its group, else the one with the longest pattern
 * that fits, else the one for all others, else null. Where two plans say the same, which `plans.apply` refuses, the first by
 * name counts.
 */
export const coveringOf = <P extends Plan>(plans: readonly P[]): ((machine: CoveredMachine) => P | null) => {
  const byMachine = new Map<string, P>()
  const byGroup = new Map<string, P>()
  const patterns: { readonly text: string; readonly plan: P }[] = []
  let others: P | null = null
  for (const plan of plans.toSorted(byName)) {
    for (const machine of plan.covers.machines) if (!byMachine.has(machine)) byMachine.set(machine, plan)
    for (const group of plan.covers.groups) if (!byGroup.has(group)) byGroup.set(group, plan)
    for (const text of plan.covers.patterns) patterns.push({ text, plan })
    if (plan.covers.others) others ??= plan
  }
  patterns.sort((a, b) => nearer(a.text, b.text))
  return ({ name, group }) =>
    byMachine.get(name) ??
    (group === null ? undefined : byGroup.get(group)) ??
    patterns.find(({ text }) => fits(text, name))?.plan ??
    others
}
