// The form of a new target: what its kind needs, and no more.
import { useSignal } from '@preact/signals'
import { TARGET_KINDS } from '../../../../protocol/notify.ts'
import { link } from '../../frame/console.ts'
import { Field, Select } from '../../parts/basics.tsx'
import { Ask } from '../../parts/dialog.tsx'
import { noticeActionsOf } from '../../stores/notifications.ts'
import { notifications as texts } from '../../texts/notifications.ts'
import { EMPTY_FORM, settingsOfForm, type TargetForm } from './target-settings.ts'

const actions = noticeActionsOf(link)

type TextField = Exclude<keyof TargetForm, 'kind' | 'security'>

/** The text fields of each kind, in their order; `?` where one may stay empty. */
const FIELDS: Readonly<
  Record<TargetForm['kind'], readonly (readonly [TextField, label: string, isOptional?: true])[]>
> = {
  smtp: [
    ['host', texts.field.host],
    ['port', texts.field.port],
    ['from', texts.field.from],
    ['to', texts.field.to],
    ['user', texts.field.user, true],
    ['password', texts.field.password, true],
  ],
  webhook: [['url', texts.field.url]],
  ntfy: [
    ['url', texts.field.serverUrl],
    ['topic', texts.field.topic],
    ['token', texts.field.token, true],
  ],
  gotify: [
    ['url', texts.field.serverUrl],
    ['token', texts.field.token],
  ],
}

const SECRET: ReadonlySet<TextField> = new Set<TextField>(['password', 'token'])

export const AddTarget = ({ onAdded, onClose }: { onAdded: () => Promise<void>; onClose: () => void }) => {
  const name = useSignal('')
  const form = useSignal(EMPTY_FORM)
  const set = (change: Partial<TargetForm>): void => {
    form.value = { ...form.value, ...change }
  }
  const add = async (): Promise<void> => {
    await actions.setTarget({ target: name.value.trim(), ...settingsOfForm(form.value) })
    await onAdded()
  }
  const { kind, security } = form.value
  return (
    <Ask title={texts.addTargetTitle} action={texts.addAction} onYes={add} onClose={onClose}>
      <Field
        label={texts.field.name}
        value={name.value}
        required
        autocomplete="off"
        onInput={(event) => (name.value = event.currentTarget.value)}
      />
      <Select
        label={texts.field.kind}
        value={kind}
        choices={TARGET_KINDS.map((value) => ({ value, text: texts.kinds[value] }))}
        onChoose={(value) => set({ kind: value as TargetForm['kind'] })}
      />
      {FIELDS[kind].map(([field, label, isOptional = false]) => {
        const input = {
          label,
          ...(kind === 'webhook' ? { hint: texts.field.urlHint } : {}),
          value: form.value[field],
          required: !isOptional,
          autocomplete: 'off',
          spellcheck: false,
          onInput: (event: { readonly currentTarget: HTMLInputElement }) => set({ [field]: event.currentTarget.value }),
        }
        return SECRET.has(field) ? <Field key={field} {...input} type="password" /> : <Field key={field} {...input} />
      })}
      {kind === 'smtp' ? (
        <Select
          label={texts.field.security}
          value={security}
          choices={Object.entries(texts.field.securities).map(([value, text]) => ({ value, text }))}
          onChoose={(value) => set({ security: value as TargetForm['security'] })}
        />
      ) : null}
    </Ask>
  )
}
