// The fields of a plan.
import type { Signal } from '@preact/signals'
import { CONSISTENCY_WISHES, LEFT_OUT_REASONS, READ_REASONS } from '../../../../protocol/backup.ts'
import { Field, Select } from '../../parts/basics.tsx'
import { points } from '../../texts/points.ts'
import { plans as texts } from '../../texts/plans.ts'
import { KEEP_FIELDS, toggled, type Draft } from './draft.ts'

const { edit } = texts

type TextField = { [K in keyof Draft]: Draft[K] extends string ? K : never }[keyof Draft]

/** Reasons of full reads; `bitmap` is none. */
const FULL_REASONS = READ_REASONS.filter((reason) => reason !== 'bitmap')

const CONSISTENCIES = CONSISTENCY_WISHES.map((value) => ({ value, text: edit.consistencies[value] }))

interface ReasonsProps<R extends string> {
  readonly legend: string
  readonly hint?: string
  readonly reasons: readonly R[]
  readonly texts: Readonly<Record<R, string>>
  readonly chosen: readonly R[]
  readonly onChoose: (chosen: readonly R[]) => void
}

const Reasons = <R extends string>({ legend, hint, reasons, texts, chosen, onChoose }: ReasonsProps<R>) => (
  <fieldset class="reasons">
    <legend>{legend}</legend>
    {hint === undefined ? null : <p class="quiet">{hint}</p>}
    <div class="fields">
      {reasons.map((reason) => (
        <label key={reason} class="check">
          <input type="checkbox" checked={chosen.includes(reason)} onChange={() => onChoose(toggled(chosen, reason))} />
          {texts[reason]}
        </label>
      ))}
    </div>
  </fieldset>
)

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
      <h3>{edit.guest}</h3>
      <div class="fields">
        <Select
          label={edit.consistency}
          value={draft.value.consistency}
          choices={CONSISTENCIES}
          onChoose={(value) => set({ consistency: CONSISTENCY_WISHES.find((wish) => wish === value) ?? 'freeze' })}
        />
        {text('compareDays', edit.compareDays, edit.compareHint)}
      </div>
      <Reasons
        legend={edit.refuseFull}
        hint={edit.refuseFullHint}
        reasons={FULL_REASONS}
        texts={points.reasons}
        chosen={draft.value.refuseFull}
        onChoose={(refuseFull) => set({ refuseFull })}
      />
      <Reasons
        legend={edit.refuseLeftOut}
        reasons={LEFT_OUT_REASONS}
        texts={points.leftOut}
        chosen={draft.value.refuseLeftOut}
        onChoose={(refuseLeftOut) => set({ refuseLeftOut })}
      />
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
