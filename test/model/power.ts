// A loss of power after a death: what was not synced of packs is gone, garbled or still there, and removals that were not
// may be undone.
import {
  existsSync,
  linkSync,
  readdirSync,
  rmSync,
  statSync,
  truncateSync,
  unlinkSync,
  openSync,
  writeSync,
  closeSync,
} from 'node:fs'
import path from 'node:path'
import type { Dice } from '../support/model-dice.ts'
import type { Fact } from './plan.ts'

const packFiles = (folder: string): string[] =>
  existsSync(folder)
    ? readdirSync(folder, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile() && entry.name.endsWith('.pack'))
        .map((entry) => path.join(entry.parentPath, entry.name))
    : []

/** What of the packs is known to survive. */
export class Durable {
  readonly #bytes = new Map<string, number>()
  readonly #removing = new Map<string, string>()

  /** Takes over what a life said. */
  follow(facts: readonly Fact[]): void {
    for (const fact of facts) {
      if (fact.fact === 'synced') this.#bytes.set(fact.file, Math.max(fact.bytes, this.#bytes.get(fact.file) ?? 0))
      if (fact.fact === 'removing') this.#removing.set(fact.file, fact.aside)
      if (fact.fact === 'removed') this.#forget(fact.file)
    }
  }

  /** The power goes. */
  lose(folder: string, dice: Dice): string[] {
    const told: string[] = []
    for (const [file, aside] of this.#removing) {
      if (!existsSync(file) && dice.chance(0.5)) {
        linkSync(aside, file)
        told.push(`${path.basename(file)} is back`)
      }
    }
    for (const file of packFiles(path.join(folder, 'packs')).toSorted()) {
      const size = statSync(file).size
      const kept = this.#bytes.get(file) ?? 0
      if (size <= kept) continue
      told.push(`${path.basename(file)} ${size} -> ${this.#spoil(file, kept, size, dice)}`)
    }
    this.settle()
    return told
  }

  /** Nothing is being removed any more. */
  settle(): void {
    for (const file of this.#removing.keys()) this.#forget(file)
  }

  #forget(file: string): void {
    const aside = this.#removing.get(file)
    if (aside !== undefined) rmSync(aside, { force: true })
    this.#removing.delete(file)
    if (!existsSync(file)) this.#bytes.delete(file)
  }

  #spoil(file: string, kept: number, size: number, dice: Dice): string {
    if (!this.#bytes.has(file) && dice.chance(0.3)) {
      unlinkSync(file)
      return 'never made'
    }
    const how = dice.below(4)
    if (how === 0) return 'as it is'
    const from = kept + dice.below(size - kept)
    if (how === 1) {
      truncateSync(file, from)
      return `cut at ${from}`
    }
    const handle = openSync(file, 'r+')
    writeSync(handle, how === 2 ? dice.bytes(size - from) : Buffer.alloc(size - from), 0, size - from, from)
    closeSync(handle)
    return `garbled from ${from}`
  }
}
