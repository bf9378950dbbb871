// Reads and writes the XML that libvirt speaks: bounded in size and depth, and nothing that expands.
import { XmlElement, XmlText as XmlTextNode, parseXml } from '@rgrove/parse-xml'
import { VarveError, type ErrorCode } from '../../protocol/errors.ts'

/** Longest document that is read, in characters; libvirt's own strings have 4 MiB at most. */
export const XML_CHARS_MAX = 4 * 1024 * 1024

/** Deepest nesting that is read; libvirt's own documents stay below 20. */
export const XML_DEPTH_MAX = 64

export type { XmlElement }

export interface XmlReadOptions {
  /** The name that the outermost element must have. */
  readonly root: string
  /** The code of the error that a document which cannot be read is. */
  readonly code?: ErrorCode
}

/** Where one piece of markup that begins at `start` ends, exclusive; -1 where it does not. */
const endOf = (text: string, start: number): number => {
  const after = (mark: string, from: number): number => {
    const found = text.indexOf(mark, from)
    return found < 0 ? -1 : found + mark.length
  }
  if (text.startsWith('<!--', start)) return after('-->', start + 4)
  if (text.startsWith('<![CDATA[', start)) return after(']]>', start + 9)
  if (text.startsWith('<?', start)) return after('?>', start + 2)
  for (let at = start + 1; at < text.length; at += 1) {
    const char = text[at]
    if (char === '>') return at + 1
    if (char !== '"' && char !== "'") continue
    at = text.indexOf(char, at + 1)
    if (at < 0) return -1
  }
  return -1
}

/** What keeps a document from being read; the parser recurses, so the depth is looked at before. */
const objectionTo = (text: string): string | null => {
  if (text.length > XML_CHARS_MAX) return `it has more than ${XML_CHARS_MAX} characters`
  let depth = 0
  for (let at = text.indexOf('<'); at >= 0; at = text.indexOf('<', at)) {
    const end = endOf(text, at)
    if (end < 0) return 'it ends within a tag'
    if (text.startsWith('<!DOCTYPE', at)) return 'it declares a document type'
    if (text.startsWith('</', at)) depth -= 1
    else if (text[at + 1] !== '!' && text[at + 1] !== '?' && text[end - 2] !== '/') depth += 1
    if (depth > XML_DEPTH_MAX) return `it is nested deeper than ${XML_DEPTH_MAX} elements`
    at = end
  }
  return null
}

/** The outermost element of a document. LIBVIRT_PROTOCOL (or `code`) for one that is too large, too deep or no such document. */
export const readXml = (text: string, { root, code = 'LIBVIRT_PROTOCOL' }: XmlReadOptions): XmlElement => {
  const objection = objectionTo(text)
  if (objection !== null) throw new VarveError(code, `the <${root}> document cannot be read: ${objection}`)
  let element: XmlElement | null
  try {
    element = parseXml(text).root
  } catch (cause) {
    const [why = ''] = (cause instanceof Error ? cause.message : String(cause)).split('\n')
    throw new VarveError(code, `the <${root}> document cannot be read: ${why.slice(0, 200)}`, { cause })
  }
  if (element?.name === root) return element
  throw new VarveError(code, `a <${root}> document was expected, not <${element?.name.slice(0, 64) ?? ''}>`)
}

/** The elements directly within, in their order; with `name` only those of that name. */
export const childrenOf = (element: XmlElement, name?: string): XmlElement[] =>
  element.children.filter(
    (child): child is XmlElement => child instanceof XmlElement && (name === undefined || child.name === name),
  )

/** Elements and text directly within, in their order. */
export const contentOf = (element: XmlElement): (XmlElement | string)[] =>
  element.children.flatMap((child): (XmlElement | string)[] =>
    child instanceof XmlElement ? [child] : child instanceof XmlTextNode ? [child.text] : [],
  )

/** The first element at a path of names below `element`, such as `devices/emulator`; null where there is none. */
export const elementAt = (element: XmlElement, path: string): XmlElement | null => {
  let found: XmlElement | undefined = element
  for (const name of path.split('/')) {
    if (found === undefined) return null
    found = childrenOf(found, name)[0]
  }
  return found ?? null
}

/** An attribute's value; null where it is not given. */
export const attributeOf = (element: XmlElement | null, name: string): string | null =>
  element !== null && Object.hasOwn(element.attributes, name) ? (element.attributes[name] ?? null) : null

/** The text directly within an element, without the white space around it. */
export const textOf = (element: XmlElement | null): string =>
  (element?.children ?? [])
    .filter((child) => child instanceof XmlTextNode)
    .map((child) => child.text)
    .join('')
    .trim()

/** The text of the first element at a path, null where there is none. */
export const textAt = (element: XmlElement, path: string): string | null => {
  const found = elementAt(element, path)
  return found === null ? null : textOf(found)
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
  '\n': '&#10;',
  '\r': '&#13;',
  '\t': '&#9;',
}

/** What XML 1.0 has no way to write: control characters, surrogates without their half, U+FFFE and U+FFFF. */
const UNWRITABLE = /(?![\u{7f}-\u{9f}])[^\P{Cc}\n\r\t]|\p{Cs}|[\u{fffe}\u{ffff}]/u

/** Text as it stands between tags or in an attribute of either quote. PARAMS_INVALID for characters that XML cannot hold. */
export const escapeXml = (text: string): string => {
  if (UNWRITABLE.test(text)) {
    throw new VarveError('PARAMS_INVALID', `XML cannot hold a character of ${JSON.stringify(text.slice(0, 200))}`)
  }
  return text.replaceAll(/[&<>"'\n\r\t]/g, (char) => ENTITIES[char] ?? char)
}

/** XML that was written here, as opposed to text that must be escaped. */
export class Xml {
  readonly text: string

  constructor(text: string) {
    this.text = text
  }

  toString(): string {
    return this.text
  }
}

export type XmlPart = Xml | string | number | bigint | null | readonly XmlPart[]

const written = (part: XmlPart): string => {
  if (part === null) return ''
  if (part instanceof Xml) return part.text
  if (typeof part === 'object') return part.map(written).join('')
  return escapeXml(String(part))
}

/** Template of XML: text in it is escaped, other templates and lists of them stand as they are, null is nothing. */
export const xml = (pieces: TemplateStringsArray, ...parts: readonly XmlPart[]): Xml =>
  new Xml(pieces.map((piece, index) => piece + written(parts[index] ?? null)).join(''))
