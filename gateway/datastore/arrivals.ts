// Which ids the uploads of a tenant have brought into the index lately: who asked about one before has to look again, and nobody
// else.
import { Fingerprints } from '../trees/fingerprints.ts'

/** Ids after which the older half is forgotten: what all uploads of a tenant bring while one of them waits for its chunks. */
const IDS_MAX = 16 * 1024

/** Remembered only while several uploads are open: what one alone has brought, it knows. */
export class Arrivals {
  readonly #idsMax: number
  #writers = 0
  /** Commits so far, from 1 on in the tables. */
  #commits = 0
  #latest = new Fingerprints()
  #older = new Fingerprints()
  /** When `latest` began, and from which commit on all are remembered. */
  #latestFrom = 0
  #knownFrom = 0

  constructor(idsMax = IDS_MAX) {
    this.#idsMax = idsMax
  }

  /** Now; to be taken before ids are looked up. */
  get mark(): number {
    return this.#commits
  }

  /** An upload is open until disposal. */
  open(): Disposable {
    this.#writers++
    return {
      [Symbol.dispose]: () => {
        this.#writers--
        if (this.#writers < 2) this.#forget()
      },
    }
  }

  /** To be called in the turn in which a commit of these ids is asked for: who looks up later finds what it brought. */
  note(ids: Iterable<Uint8Array>): void {
    if (this.#writers < 2) return
    this.#commits++
    for (const id of ids) this.#latest.set(id, this.#commits)
    if (this.#latest.size < this.#idsMax) return
    this.#older = this.#latest
    this.#latest = new Fingerprints()
    this.#knownFrom = this.#latestFrom
    this.#latestFrom = this.#commits
  }

  /** Whether one of these ids, which the index did not have at the mark, may be there now; a commit may have failed. */
  mayHave(mark: number, ids: readonly Uint8Array[]): boolean {
    if (mark < this.#knownFrom) return true
    if (mark === this.#commits) return false
    return ids.some((id) => this.#latest.get(id) > mark || this.#older.get(id) > mark)
  }

  #forget(): void {
    this.#latest = new Fingerprints()
    this.#older = new Fingerprints()
    this.#knownFrom = this.#commits
    this.#latestFrom = this.#commits
  }
}
