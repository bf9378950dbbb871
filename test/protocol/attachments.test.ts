// Names of attachments: what stays in a folder is taken, whatever could lead out of it is not.
import * as v from 'valibot'
import { describe, expect, test } from 'vitest'
import { announcedAttachment, clashOf, isAttachmentName, missingReason } from '../../protocol/attachments.ts'
import { BACKUP_METHODS } from '../../protocol/backup-methods.ts'
import { ATTACHMENT_BYTES_MAX, ATTACHMENTS_MAX, MISSING_MAX } from '../../protocol/limits.ts'

describe('names', () => {
  test.each([
    'domain.xml',
    'swtpm/tpm2-00.permall',
    'file:/etc/hosts',
    'pve/100.conf',
    '...',
    'ä',
    'a b',
    '.hidden/..x',
  ])('%j is taken', (name) => expect(isAttachmentName(name)).toBe(true))

  test.each([
    '',
    '/',
    '/etc/shadow',
    'a/',
    'a//b',
    '.',
    '..',
    '../a',
    'a/../b',
    'a/./b',
    'a/..',
    'a\\..\\b',
    'a\0b',
    'a\nb',
  ])('%j is refused', (name) => expect(isAttachmentName(name)).toBe(false))

  test('half a character is refused, and what is longer than a file system takes, in bytes', () => {
    expect(isAttachmentName('a\uD800')).toBe(false)
    expect([isAttachmentName('x'.repeat(255)), isAttachmentName('x'.repeat(256))]).toEqual([true, false])
    expect([isAttachmentName('ä'.repeat(127)), isAttachmentName('ä'.repeat(128))]).toEqual([true, false])
  })
})

describe('limits', () => {
  const begin = {
    job: '00000000-0000-4000-8000-000000000000',
    timeMs: 1,
    consistency: 'crash',
    note: null,
    configuration: '{}',
    leftOut: [],
    disks: [],
  }
  const takes = (more: object): boolean =>
    v.safeParse(BACKUP_METHODS['backup.begin'].params, { ...begin, ...more }).success
  const named = (count: number, rest: object) =>
    Array.from({ length: count }, (_, index) => ({ name: `a${index}`, ...rest }))

  test('an attachment has at most 16 MiB', () => {
    const is = (size: number): boolean => v.safeParse(announcedAttachment, { name: 'a', size }).success
    expect([is(0), is(ATTACHMENT_BYTES_MAX), is(ATTACHMENT_BYTES_MAX + 1), is(-1), is(1.5)]).toEqual([
      true,
      true,
      false,
      false,
      false,
    ])
  })

  test('a restore point has at most so many, and an older agent says nothing of them', () => {
    expect(takes({})).toBe(true)
    expect(takes({ attachments: named(ATTACHMENTS_MAX, { size: 1 }) })).toBe(true)
    expect(takes({ attachments: named(ATTACHMENTS_MAX + 1, { size: 1 }) })).toBe(false)
    expect(takes({ missing: named(MISSING_MAX, { reason: 'why' }) })).toBe(true)
    expect(takes({ missing: named(MISSING_MAX + 1, { reason: 'why' }) })).toBe(false)
  })

  test('a sentence is cut to what fits', () => {
    expect(takes({ missing: [{ name: 'a', reason: missingReason('x'.repeat(9999)) }] })).toBe(true)
    expect(missingReason('short')).toBe('short')
  })
})

test('two names clash where one is a folder of the other', () => {
  expect(clashOf('a/b', ['x', 'a'])).toBe('a')
  expect(clashOf('a', ['x', 'a/b/c'])).toBe('a/b/c')
  expect(clashOf('a', ['a', 'ab', 'a.b', 'b/a'])).toBe(null)
})
