// The end of what comes from a serial console: bounded, and without what would move a terminal's cursor.
import { DRILL_LOG_CHARS_MAX } from '../../protocol/limits.ts'

/** Characters that are kept as they came: escape sequences are taken out of them only when somebody looks. */
const RAW_CHARS_MAX = 2 * DRILL_LOG_CHARS_MAX

/** Escape sequences of terminals: of a cursor and colours, of titles, and short ones. No two parts of one overlap. */
// oxlint-disable-next-line no-control-regex
const ESCAPES = /\u001B(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001B]*(?:\u0007|\u001B\\)?|[ -/]*[0-~])/gu

/** Text as a log shows it: lines, without control characters but tabs. */
export const plainText = (raw: string): string =>
  raw
    .replaceAll(ESCAPES, '')
    .replaceAll(/\r+\n?/gu, '\n')
    .replaceAll(/[^\P{Cc}\n\t]/gu, '')
    .toWellFormed()

export class SerialLog {
  readonly #decoder = new TextDecoder()
  #raw = ''
  #plain: string | null = ''

  add(bytes: Uint8Array): void {
    this.#raw = (this.#raw + this.#decoder.decode(bytes, { stream: true })).slice(-RAW_CHARS_MAX)
    this.#plain = null
  }

  /** At most DRILL_LOG_CHARS_MAX characters, the last ones. */
  get text(): string {
    this.#plain ??= plainText(this.#raw).slice(-DRILL_LOG_CHARS_MAX).toWellFormed()
    return this.#plain
  }
}
