// Parsers of option values that several commands take.
import { InvalidArgumentError } from 'commander'
import * as v from 'valibot'
import { durationMs } from '../../protocol/host/duration.ts'
import { sizeBytes } from '../../protocol/host/size.ts'
import { idPrefix } from '../../protocol/schemas.ts'
import { momentOf } from '../../protocol/host/moment.ts'

/** Turns a parser's error into one about an argument. */
const parsed = <V>(parse: (text: string) => V): ((text: string) => V) => {
  return (text) => {
    try {
      return parse(text)
    } catch (error) {
      throw new InvalidArgumentError((error as Error).message)
    }
  }
}

/** Milliseconds of a text such as `8h`. */
export const duration = parsed(durationMs)

/** Bytes of a text such as `64M`. */
export const size = parsed(sizeBytes)

/** A time such as `2026-11-28 14:00`. */
export const moment = parsed((text) => momentOf(text))

/** Host and port of a text such as `127.0.0.1:10809` or `[::1]:10809`. */
export const listenAddress = (text: string): { readonly host: string; readonly port: number } => {
  const [, host = '', port = ''] = /^(\[[0-9a-f:]+\]|[^:\s]+):(\d{1,5})$/iu.exec(text) ?? []
  if (host === '' || Number(port) > 65_535)
    throw new InvalidArgumentError(`"${text}" is not an address with a port, such as 127.0.0.1:10809`)
  return { host: host.replace(/^\[|\]$/gu, ''), port: Number(port) }
}

/** The id of a restore point, or its first characters. */
export const pointPrefix = (text: string): string => {
  const checked = v.safeParse(idPrefix, text)
  if (checked.success) return checked.output
  throw new InvalidArgumentError(
    `"${text}" is not the id of a restore point or its first 4 or more characters: "points" lists them`,
  )
}
