// What every engine of the catalog must do with notifications: targets and rules of each scope, a cursor that moves with what
// it decided, and an outbox whose messages are taken once.
import { randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import type { Catalog } from '../../../gateway/catalog/catalog.ts'
import { NOTICES_KEPT_MAX, NOTICES_KEPT_MS, type NewNotice, type NoticeItem } from '../../../gateway/catalog/notices.ts'
import { testMessage } from '../../../gateway/notify/messages.ts'
import { MUTES_MAX, RULES_MAX, TARGETS_MAX, type Rule } from '../../../protocol/notify.ts'
import { codeOf } from '../auth/test-authority.ts'
import { MAIL } from '../notify/stand.ts'
import type { World } from './catalog-suite.ts'

const HOUR_MS = 3_600_000

const target = (name: string) => ({
  name,
  settings: MAIL,
  secret: Uint8Array.of(1, 2),
  hourly: 5,
  origin: null,
  set: ['password'],
})

const rule = (name: string, targets: string[]): Rule => ({ name, match: {}, targets, quiet: null, repeatMs: null })

const addTarget = (catalog: Catalog, tenant: string | null, name: string, first: Rule | null = null) =>
  catalog.notices.setTarget({ tenant, target: target(name), rule: first, nowMs: 1 })

const notice = (to: string, kind: 'notice' | 'test' = 'notice'): NewNotice => {
  const id = randomUUID()
  return { id, target: to, message: { ...testMessage({ id, timeMs: 1, tenant: 'acme', target: to }), kind } }
}

const item = (to: string, key: string, dueMs: number | null): NoticeItem => ({
  target: to,
  key,
  kind: 'machine.state',
  severity: 'error',
  machine: 'db1',
  group: null,
  active: true,
  sinceMs: 1,
  changedMs: 1,
  text: 'x',
  data: {},
  told: null,
  changes: 1,
  kept: null,
  dueMs,
})

export const notices = (open: () => Promise<World>) =>
  describe('notices', () => {
    test('targets and rules belong to a tenant or the platform; a target takes its rules with it', async () => {
      await using world = await open()
      const { catalog, acme, other } = world
      const tenant = acme.id
      expect(await addTarget(catalog, tenant, 'mail', rule('mail', ['mail']))).toEqual({ added: true })
      expect(await addTarget(catalog, tenant, 'mail', rule('more', ['mail']))).toEqual({ added: false })
      await addTarget(catalog, tenant, 'hook')
      await addTarget(catalog, null, 'mail')
      expect(await catalog.notices.target({ tenant, name: 'mail' })).toMatchObject({ ...target('mail'), held: 0 })
      expect(await catalog.notices.target({ tenant: other.id, name: 'mail' })).toBeNull()
      expect((await catalog.notices.targets({ tenant })).map(({ name }) => name)).toEqual(['hook', 'mail'])
      await catalog.notices.setRule({ tenant, rule: rule('both', ['hook', 'mail']), nowMs: 1 })
      const nowhere = catalog.notices.setRule({ tenant: other.id, rule: rule('r', ['mail']), nowMs: 1 })
      expect(await codeOf(nowhere)).toBe('NOT_FOUND')
      expect(await catalog.notices.rules({ tenant: null })).toEqual([])
      const post = notice('mail')
      await catalog.notices.post({ tenant, notice: post, nowMs: 5 })
      expect(await catalog.notices.removeTarget({ tenant, name: 'mail', nowMs: 6 })).toEqual(['mail'])
      expect(await catalog.notices.rules({ tenant })).toEqual([rule('both', ['hook'])])
      const [dead] = await catalog.notices.outbox({ tenant, state: 'dead', before: null, limit: 9 })
      expect(dead).toMatchObject({ id: post.id, error: 'the target was removed', endedMs: 6 })
      expect(await codeOf(catalog.notices.retry({ tenant, id: post.id, nowMs: 7 }))).toBe('NOT_FOUND')
      expect(await codeOf(catalog.notices.removeTarget({ tenant, name: 'mail', nowMs: 6 }))).toBe('NOT_FOUND')
      expect(await codeOf(catalog.notices.removeRule({ tenant, name: 'mail', nowMs: 6 }))).toBe('NOT_FOUND')
      expect(await catalog.notices.targets({ tenant: null })).toHaveLength(1)
    })

    test('there are bounds on each of them', async () => {
      await using world = await open()
      const { catalog, acme } = world
      const tenant = acme.id
      for (let count = 0; count < TARGETS_MAX; count++) await addTarget(catalog, tenant, `t${count}`)
      expect(await codeOf(addTarget(catalog, tenant, 'more'))).toBe('LIMIT_REACHED')
      const setRule = (name: string) => catalog.notices.setRule({ tenant, rule: rule(name, ['t1']), nowMs: 1 })
      for (let count = 0; count < RULES_MAX; count++) await setRule(`r${count}`)
      expect([await codeOf(setRule('more')), await codeOf(setRule('r1'))]).toEqual(['LIMIT_REACHED', 'none'])
      const mute = (sinceMs: number) => {
        const of = { id: randomUUID(), by: 'ann', reason: 'x', match: {}, sinceMs, untilMs: 10 }
        return catalog.notices.mute({ tenant, mute: of })
      }
      for (let count = 0; count < MUTES_MAX; count++) await mute(1)
      expect([await codeOf(mute(1)), await codeOf(mute(10))]).toEqual(['LIMIT_REACHED', 'none'])
    })

    test('the cursor and what was decided behind it are one, and only the first of two decides', async () => {
      await using world = await open()
      const { catalog, acme } = world
      const tenant = acme.id
      await addTarget(catalog, tenant, 'mail')
      const from = await catalog.notices.cursor()
      const made = notice('mail')
      const change = { tenant, items: [item('mail', 'a', null)], removed: [], notices: [made], held: { mail: 3 } }
      const commit = { from, to: from + 5, changes: [change], nowMs: 100 }
      // the same message twice is no message of the engine: nothing of it is there
      const twice = catalog.notices.commit({ ...commit, changes: [change, { ...change, items: [] }] })
      await expect(twice).rejects.toThrow()
      expect(await catalog.notices.cursor()).toBe(from)
      expect(await catalog.notices.commit(commit)).toBe(true)
      expect(await catalog.notices.commit(commit)).toBe(false)
      expect(await catalog.notices.cursor()).toBe(from + 5)
      const asked = { scopes: [{ tenant, keys: ['a', 'b'] }], nowMs: 100 }
      const [scope] = await catalog.notices.world(asked)
      expect(scope).toMatchObject({ tenant, tenantName: 'acme', counts: { mail: 1 }, lately: { mail: [100] } })
      expect(scope!.items).toEqual([item('mail', 'a', null)])
      expect(scope!.targets[0]!.held).toBe(3)
      expect((await catalog.notices.world({ ...asked, nowMs: 100 + HOUR_MS }))[0]!.lately).toEqual({})
      // a target that is gone gets nothing of a decision from before
      await catalog.notices.removeTarget({ tenant, name: 'mail', nowMs: 101 })
      const late = { ...change, notices: [notice('mail')] }
      await catalog.notices.commit({ from: from + 5, to: from + 6, changes: [late], nowMs: 102 })
      expect(await catalog.notices.outbox({ tenant, state: 'waiting', before: null, limit: 9 })).toEqual([])
    })

    test('scopes come up when an item of theirs is due, and at once when rules, mutes or targets are others', async () => {
      await using world = await open()
      const { catalog, acme, other } = world
      const tenant = acme.id
      for (const of of [tenant, other.id]) await addTarget(catalog, of, 'mail', rule('mail', ['mail']))
      const from = await catalog.notices.cursor()
      const items = [item('mail', 'a', 1000), item('mail', 'b', null)]
      const change = { tenant, items, removed: [], notices: [], held: {} }
      await catalog.notices.commit({ from, to: from, changes: [change], nowMs: 100 })
      const scopesAt = async (nowMs: number) => await catalog.notices.world({ scopes: [], nowMs })
      expect([await catalog.notices.nextDue(), await scopesAt(999)]).toEqual([1000, []])
      expect((await scopesAt(1000)).map((scope) => [scope.tenant, scope.items.map(({ key }) => key)])).toEqual([
        [tenant, ['a']],
      ])
      const mute = { id: randomUUID(), by: 'ann', reason: 'x', match: {}, sinceMs: 1, untilMs: 9000 }
      await catalog.notices.mute({ tenant, mute })
      await catalog.notices.unmute({ tenant, id: mute.id, nowMs: 500 })
      const [scope] = await scopesAt(500)
      expect(scope!.items.map(({ key, dueMs }) => [key, dueMs]).toSorted()).toEqual([
        ['a', 500],
        ['b', 500],
      ])
      expect(await codeOf(catalog.notices.unmute({ tenant: other.id, id: mute.id, nowMs: 500 }))).toBe('NOT_FOUND')
    })

    test('a message is taken by one sender, tried again when that dies, and ends sent or dead', async () => {
      await using world = await open()
      const { catalog, acme } = world
      const tenant = acme.id
      await addTarget(catalog, tenant, 'mail')
      await addTarget(catalog, null, 'mail')
      const [first, second, third] = [notice('mail'), notice('mail'), notice('mail')]
      await catalog.notices.post({ tenant, notice: first, nowMs: 10 })
      await catalog.notices.post({ tenant, notice: second, nowMs: 11 })
      await catalog.notices.post({ tenant: null, notice: third, nowMs: 12 })
      const dueAt = async (nowMs: number) => (await catalog.notices.due({ nowMs, limit: 9 })).map(({ id }) => id)
      expect(await dueAt(9)).toEqual([])
      // the oldest of each target
      expect(await dueAt(20)).toEqual([first.id, third.id])
      const claim = { id: first.id, nowMs: 20, untilMs: 60 }
      expect([await catalog.notices.claim(claim), await catalog.notices.claim(claim)]).toEqual([true, false])
      expect(await dueAt(20)).toEqual([second.id, third.id])
      expect(await dueAt(60)).toContain(first.id)
      const row = (await catalog.notices.due({ nowMs: 60, limit: 9 })).find(({ id }) => id === first.id)
      expect(row).toMatchObject({ tenant, attempts: 1, madeMs: 10, message: first.message, to: { settings: MAIL } })
      const settle = { id: first.id, error: '550', nextMs: null, nowMs: 61 }
      await catalog.notices.settle({ ...settle, state: 'waiting', nextMs: 90 })
      expect(await dueAt(89)).not.toContain(first.id)
      await catalog.notices.settle({ ...settle, state: 'dead' })
      const outbox = await catalog.notices.outbox({ tenant, state: null, before: null, limit: 9 })
      expect(outbox.map(({ id, state, error }) => [id, state, error])).toEqual([
        [second.id, 'waiting', null],
        [first.id, 'dead', '550'],
      ])
      expect(await codeOf(catalog.notices.drop({ tenant: null, id: first.id }))).toBe('NOT_FOUND')
      await catalog.notices.retry({ tenant, id: first.id, nowMs: 100 })
      expect(await catalog.notices.claim({ id: first.id, nowMs: 100, untilMs: 200 })).toBe(true)
      await catalog.notices.settle({ ...settle, state: 'sent', error: null, nowMs: 101 })
      expect(await codeOf(catalog.notices.retry({ tenant, id: first.id, nowMs: 102 }))).toBe('PARAMS_INVALID')
    })

    test('what ended long ago, and what is too much, is trimmed; what waits is not', async () => {
      await using world = await open()
      const { catalog, acme } = world
      const tenant = acme.id
      await addTarget(catalog, tenant, 'mail')
      const from = await catalog.notices.cursor()
      const many = Array.from({ length: NOTICES_KEPT_MAX + 5 }, () => notice('mail'))
      const change = { tenant, items: [], removed: [], notices: many, held: {} }
      await catalog.notices.commit({ from, to: from, changes: [change], nowMs: 1 })
      for (const { id } of many.slice(1))
        await catalog.notices.settle({ id, state: 'sent', error: null, nextMs: null, nowMs: 2 })
      expect(await catalog.notices.trim({ nowMs: 2 })).toBe(0)
      expect(await catalog.notices.trim({ nowMs: 2 + HOUR_MS })).toBeGreaterThan(0)
      await catalog.notices.trim({ nowMs: 2 + NOTICES_KEPT_MS })
      const left = await catalog.notices.outbox({ tenant, state: null, before: null, limit: 9 })
      expect(left.map(({ id }) => id)).toEqual([many[0]!.id])
    })
  })
