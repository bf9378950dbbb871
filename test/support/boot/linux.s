# Boots Linux from the first sector of a disk. Each entry of the table copies blocks of 32 KiB from the disk to an address of memory;
# the kernel's header is filled in by who makes the disk. as --32, then ld -m elf_i386 -Ttext 0x7c00 --oformat binary.
.code16
.intel_syntax noprefix
.globl _start
_start:
  cli
  xor ax, ax
  mov ds, ax
  mov es, ax
  mov ss, ax
  mov sp, 0x7c00
  sti
  mov [drive], dl
  cld
  mov si, OFFSET table
next:
  lodsd
  test eax, eax
  jz go
  mov [dest], eax
  lodsd
  mov [dap+8], eax
  lodsw
  mov cx, ax
block:
  push si
  push cx
  mov si, OFFSET dap
  mov ah, 0x42
  mov dl, [drive]
  int 0x13
  jc fail
  mov eax, [dest]
  mov [gdt+0x1a], ax
  shr eax, 16
  mov [gdt+0x1c], al
  mov [gdt+0x1f], ah
  mov si, OFFSET gdt
  mov cx, 0x4000
  mov ah, 0x87
  int 0x15
  jc fail
  add dword ptr [dest], 0x8000
  add dword ptr [dap+8], 64
  pop cx
  pop si
  loop block
  jmp next
go:
  cli
  mov ax, 0x9000
  mov ds, ax
  mov es, ax
  mov fs, ax
  mov gs, ax
  mov ss, ax
  mov sp, 0xe000
  .byte 0xea
  .word 0, 0x9020
fail:
  mov si, OFFSET said
letter:
  lodsb
  test al, al
  jz stop
  mov dx, 0x3f8
  out dx, al
  jmp letter
stop:
  hlt
  jmp stop
said: .asciz "the disk cannot be read\r\n"
.balign 4
drive: .byte 0
.balign 4
dest: .long 0
dap: .byte 16, 0
  .word 64
  .word 0, 0x1000
  .long 0, 0
.balign 8
gdt: .quad 0, 0
  .word 0xffff, 0
  .byte 1, 0x93, 0, 0
  .word 0xffff, 0
  .byte 0, 0x93, 0, 0
  .quad 0, 0
.org 0x180
table:
.org 0x1fe
.byte 0x55, 0xaa
