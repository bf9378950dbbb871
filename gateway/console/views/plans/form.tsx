// The fields of a plan.
import type { Signal } from '@preact/signals'
import { Field } from '../../parts/basics.tsx'
import { plans as texts } from '../../texts/plans.ts'
import { KEEP_FIELDS, type Draft } from './draft.ts'

const { edit } = texts

type TextField = { [K in keyof Draft]: Draft[K] extends string ? K : never }[keyof Draft]

interface FormProps {
  readonly draft: Signal<Draft>
  readonly isNew: boolean
  /** Nobody may change it. */
  readonly isFixed: boolean
}

export const Form = ({ draft, isNew, isFixed }: FormProps) => {
  const set = (change: Partial<Draft>): void => void (draft.value = { ...draft.value, ...change })
  const text = (field: TextField, label: string, hint?: string) => (
    <Field
      label={label}
      {...(hint === undefined ? {} : { hint })}
      value={draft.value[field]}
      autocomplete="off"
      spellcheck={false}
      onInput={(event) => set({ [field]: event.currentTarget.value })}
    />
  )
  const check = (field: 'enabled' | 'others', label: string) => (
    <label class="check">
      <input
        type="checkbox"
        checked={draft.value[field]}
        onChange={(event) => set({ [field]: event.currentTarget.checked })}
      />
      {label}
    </label>
  )
  return (
    <fieldset class="plan-form" disabled={isFixed}>
      <legend class="hidden">{isNew ? edit.fresh : edit.title(draft.value.name)}</legend>
      {check('enabled', edit.enabled)}
      <div class="fields">
        {isNew ? text('name', edit.name) : null}
        {text('schedule', edit.schedule, edit.scheduleHint)}
        {text('rpo', edit.rpo, edit.rpoHint)}
        {text('window', edit.window, edit.windowHint)}
        {text('timeZone', edit.timeZone)}
        {text('jitter', edit.jitter)}
        {text('priority', edit.priority)}
        {text('lockDays', edit.lockDays)}
        {text('verifyDays', edit.verifyDays, edit.verifyHint)}
      </div>
      <h3>{edit.covers}</h3>
      {check('others', edit.others)}
      <div class="fields">
        {text('machines', edit.machines, edit.listHint)}
        {text('groups', edit.groups, edit.listHint)}
        {text('patterns', edit.patterns, edit.listHint)}
      </div>
      <h3>{edit.retention}</h3>
      <p class="quiet">{edit.retentionHint}</p>
      <div class="fields keep">
        {KEEP_FIELDS.map((field) => (
          <Field
            key={field}
            label={edit.keep[field]}
            inputMode="numeric"
            value={draft.value.keep[field]}
            autocomplete="off"
            onInput={(event) => set({ keep: { ...draft.value.keep, [field]: event.currentTarget.value } })}
          />
        ))}
      </div>
    </fieldset>
  )
}
