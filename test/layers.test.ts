// Holds the gateway's folders to the table in its design: what is not listed there is not imported. Method: reads the table
// and every import.
import { globSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'

const root = path.resolve(import.meta.dirname, '..', 'gateway')
const design = readFileSync(path.join(root, 'DESIGN.md'), 'utf8')

/** The cells of the table below the heading "Layers", without its two first rows. */
const rows = design
  .slice(design.indexOf('\n## Layers\n'))
  .split('\n\n')
  .find((block) => block.startsWith('| folder'))!
  .split('\n')
  .slice(2)
  .map((row) => row.split('|').map((cell) => cell.trim()))

/** Folders and files of a cell, without ending slash. */
const namesIn = (cell: string): string[] => [...cell.matchAll(/`([^`]+?)\/?`/gu)].map(([, name]) => name!)

/** Every room with what it may import; null for all. Rooms of one row are one. */
const allowed = new Map(
  rows.flatMap(([, rooms = '', , imports = '']) => {
    const own = namesIn(rooms)
    return own.map((room) => [room, imports === 'all' ? null : new Set([...own, ...namesIn(imports)])] as const)
  }),
)

/** The room of a file: the longest of the table's that it lies in; null for one of none. */
const roomOf = (file: string): string | null => {
  const rooms = [...allowed.keys()].filter((room) => file === room || file.startsWith(`${room}/`))
  return rooms.sort((a, b) => b.length - a.length)[0] ?? null
}

const sources = globSync('**/*.{ts,tsx}', { cwd: root })

/** The files of the gateway that one imports, or starts as a thread. */
const importsOf = (file: string): string[] =>
  [...readFileSync(path.join(root, file), 'utf8').matchAll(/(?:from\s+|import\s*\(?\s*|new URL\()'(\.[^']+\.tsx?)'/gu)]
    .map(([, specifier]) => path.join(path.dirname(file), specifier!))
    .filter((target) => !target.startsWith('..'))

test('every folder has a row, and every row a folder', () => {
  const folders = new Set(sources.map((file) => path.dirname(file)).filter((folder) => folder !== '.'))
  expect([...folders].filter((folder) => roomOf(folder) === null)).toEqual([])
  const empty = [...allowed.keys()].filter((room) => !sources.some((file) => roomOf(file) === room))
  expect(empty).toEqual([])
})

test('what one may import has a row too', () => {
  const named = [...allowed.values()].flatMap((rooms) => [...(rooms ?? [])])
  expect(named.filter((room) => !allowed.has(room))).toEqual([])
})

test('imports go the ways of the table, and common is for all', () => {
  const broken = sources.flatMap((file) => {
    const room = roomOf(file)
    const rooms = room === null ? null : allowed.get(room)!
    return importsOf(file).flatMap((target) => {
      const other = roomOf(target)
      if (other === null || other === room || other === 'common' || rooms === null || rooms.has(other)) return []
      return [`${room} -> ${other}`]
    })
  })
  expect([...new Set(broken)]).toEqual([])
})
