// XML as a tree that can be changed and written again: elements and text; comments and instructions are left out. Pure.
import { contentOf, escapeXml, readXml, type XmlElement, type XmlReadOptions } from '../libvirt/xml.ts'

export interface Tree {
  readonly name: string
  attributes: Map<string, string>
  children: (Tree | string)[]
}

const treeOf = (read: XmlElement): Tree => ({
  name: read.name,
  attributes: new Map(Object.entries(read.attributes)),
  children: contentOf(read).map((child) => (typeof child === 'string' ? child : treeOf(child))),
})

/** The tree of a document, as `readXml` checks it. */
export const readTree = (text: string, options: XmlReadOptions): Tree => treeOf(readXml(text, options))

export const element = (
  name: string,
  attributes: Readonly<Record<string, string>> = {},
  ...children: readonly (Tree | string)[]
): Tree => ({ name, attributes: new Map(Object.entries(attributes)), children: [...children] })

/** The elements directly within; with `name` only those of that name. */
export const within = (tree: Tree, name?: string): Tree[] =>
  tree.children.filter(
    (child): child is Tree => typeof child !== 'string' && (name === undefined || child.name === name),
  )

export const firstWithin = (tree: Tree, name: string): Tree | null => within(tree, name)[0] ?? null

/** The text directly within, without the white space around it. */
export const textWithin = (tree: Tree | null): string =>
  (tree?.children ?? [])
    .filter((child) => typeof child === 'string')
    .join('')
    .trim()

/** The same, and it is all that is within from now on: who reads the document would take the text of elements in it, too. */
export const onlyText = (tree: Tree): string => {
  const text = textWithin(tree)
  tree.children = text === '' ? [] : [text]
  return text
}

/** Keeps the elements for which a rule gives something, as it gives them; text between them stays. */
export const replaceWithin = (tree: Tree, rule: (child: Tree) => Tree | null): void => {
  tree.children = tree.children
    .map((child) => (typeof child === 'string' ? child : rule(child)))
    .filter((child) => child !== null)
}

/** Keeps only the elements of these names. */
export const keepWithin = (tree: Tree, names: ReadonlySet<string>): void =>
  replaceWithin(tree, (child) => (names.has(child.name) ? child : null))

/** Keeps only these attributes. */
export const keepAttributes = (tree: Tree, names: ReadonlySet<string>): void => {
  tree.attributes = new Map([...tree.attributes].filter(([name]) => names.has(name)))
}

/** Names in the way that lists in the sources are written. */
export const namesOf = (text: string): ReadonlySet<string> => new Set(text.trim().split(/\s+/u))

/** Elements with text are written as they are; others get a line for each child. */
const write = (tree: Tree, indent: string): string => {
  const attributes = [...tree.attributes].map(([name, value]) => ` ${name}='${escapeXml(value)}'`).join('')
  const children = tree.children.filter((child) => typeof child !== 'string' || child.trim() !== '')
  if (children.length === 0) return `<${tree.name}${attributes}/>`
  if (children.some((child) => typeof child === 'string')) {
    const inner = children.map((child) => (typeof child === 'string' ? escapeXml(child) : write(child, ''))).join('')
    return `<${tree.name}${attributes}>${inner}</${tree.name}>`
  }
  const inner = children.map((child) => `${indent}  ${write(child as Tree, `${indent}  `)}\n`).join('')
  return `<${tree.name}${attributes}>\n${inner}${indent}</${tree.name}>`
}

/** The document, as it reads the same again. */
export const writeTree = (tree: Tree): string => `${write(tree, '')}\n`
