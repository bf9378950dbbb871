// Why a session ended goes over one load of the page, and nothing else that lies in its place does harm.
import { expect, test } from 'vitest'
import { keepEnd, takeEnd } from '../../../../gateway/console/net/ended.ts'
import { VarveError } from '../../../../protocol/errors.ts'

const tab = () => {
  const kept = new Map<string, string>()
  return {
    kept,
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, value: string) => void kept.set(key, value),
    removeItem: (key: string) => void kept.delete(key),
  }
}

test('a code and its sentence are told once', () => {
  const storage = tab()
  keepEnd(storage, new VarveError('TOKEN_EXPIRED', 'the token ended', { details: { a: 'secret' } }))
  expect([...storage.kept.values()].join(' ')).not.toContain('secret')
  expect(takeEnd(storage)).toMatchObject({ code: 'TOKEN_EXPIRED', message: 'the token ended' })
  expect([takeEnd(storage), storage.kept.size]).toEqual([null, 0])
})

test('who signs out leaves no reason, also none from before', () => {
  const storage = tab()
  keepEnd(storage, new VarveError('TOKEN_EXPIRED', 'the token ended'))
  keepEnd(storage, null)
  expect(storage.kept.size).toBe(0)
})

test.each(['', 'x', 'null', '{}', '["NO_SUCH","a"]', '["TOKEN_EXPIRED"]', '["TOKEN_EXPIRED",{}]'])(
  '%s is nothing',
  (text) => {
    const storage = tab()
    storage.setItem('varve.ended', text)
    expect([takeEnd(storage), storage.kept.size]).toEqual([null, 0])
  },
)
