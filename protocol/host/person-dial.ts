// Opens sessions of a person, each with the token that its file holds then.
import { readAuthority } from './authority-file.ts'
import { systemClock } from './clock.ts'
import { dial, type Dialled } from './dial.ts'
import { TOKEN_PRINTED_BY, type Away } from './person.ts'
import { STDIN, tokenIn } from './token-file.ts'
import type { Words } from './unreachable.ts'

/** What a person who types a command can set. */
const WORDS: Words = { gateway: '--gateway', ca: '--ca', plain: 'on this host only' }

export class PersonDial {
  readonly #away: Away
  readonly #program: string
  /** The one read last; null before the first session. */
  #token: string | null = null

  constructor(away: Away, program: string) {
    this.#away = away
    this.#program = program
  }

  /** What the file and the authority are wrong with, and what `dial` ends with. */
  async dial(): Promise<Dialled> {
    const { gateway, ca } = this.#away
    const authority = await readAuthority('--ca', ca)
    const token = await this.#read()
    const how = { program: this.#program, serving: false, handlers: {}, clock: systemClock, words: WORDS }
    return await dial({ gateway, ca: authority, token, ownToken: false, ...how })
  }

  /** Whether a later session may begin with another token: standard input is read once. */
  get rereads(): boolean {
    return this.#away.tokenFile !== STDIN
  }

  async #read(): Promise<string> {
    const { tokenFile: file } = this.#away
    const before = this.#token
    if (before !== null && !this.rereads) return before
    try {
      this.#token = await tokenIn({ file, printedBy: TOKEN_PRINTED_BY, secret: true })
    } catch (thrown) {
      // a pipe that has been read, or a file that is being written: the one before may still be good
      if (before === null) throw thrown
    }
    return this.#token!
  }
}
