// The texts of the view Change map, in English.
import { isolate } from './isolate.ts'

export const changes = {
  title: (machine: string) => `Change map of ${machine}`,
  back: (machine: string) => `Machine ${machine}`,
  disk: 'Disk',
  from: 'Compared with',
  before: 'The point before it',
  nothing: 'Nothing: all that it holds',
  film: {
    label: 'Point',
    play: 'Play all points',
    stop: 'Stop',
    older: 'Older point',
    olderSign: '‹',
    newer: 'Newer point',
    newerSign: '›',
    place: (index: number, count: number) => `${index} of ${count}`,
  },
  sentence: (changed: string, size: string, from: string, to: string) =>
    `${changed} of ${size} differ between ${from} and ${to}.`,
  atLeast: (changed: string, size: string, from: string, to: string) =>
    `At least ${changed} of ${size} differ between ${from} and ${to}.`,
  content: (used: string, size: string, to: string) => `${used} of ${size} hold something at ${to}.`,
  same: (size: string, from: string, to: string) => `Nothing of ${size} differs between ${from} and ${to}.`,
  unknown: (bytes: string) => `${bytes} cannot be read, so that nobody can tell.`,
  resized: (was: string, is: string) => `The disk had ${was} before and has ${is} now.`,
  part: (from: string, to: string, cell: string) => `Shown: ${from} to ${to}; one cell is ${cell}.`,
  cut: (at: string) => `Too much differs to show it all: nothing is known from ${at} on. Look closer.`,
  raster: 'Raster of the disk',
  keys: 'Arrow keys move, Enter looks closer, Backspace further, N goes to the next change.',
  cell: (offset: string, length: string, what: string) => `${length} at ${offset}: ${what}`,
  closer: 'Look closer here',
  further: 'Look further',
  whole: 'Whole disk',
  next: 'Next change',
  legend: 'Legend',
  figures: {
    title: 'Ranges in this part',
    columns: { offset: 'Offset', bytes: 'Length', kind: 'Now' },
    more: (count: string) => `and ${count} more; look closer to see them`,
  },
  empty: {
    title: 'No restore point to compare',
    says: 'A change map needs a restore point of the machine.',
  },
  noDisk: (disk: string) => `This point has no disk ${isolate(disk)}.`,
  gone: 'The point of this link is gone; the newest one is shown.',
} as const
