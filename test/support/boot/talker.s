# Says what is in eight sectors of its disk on the first serial port: up to a 0; a 1 begins anew, a 2 resets the machine.
# as --32, then ld -m elf_i386 -Ttext 0x7c00 --oformat binary.
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
again:
  mov si, OFFSET dap
  mov ah, 0x42
  mov dl, [drive]
  int 0x13
  mov si, 0x8000
  jnc letter
  mov si, OFFSET said
letter:
  lodsb
  test al, al
  jz end
  cmp al, 1
  je again
  cmp al, 2
  je reset
  push ax
  mov dx, 0x3fd
wait:
  in al, dx
  test al, 0x20
  jz wait
  pop ax
  mov dx, 0x3f8
  out dx, al
  jmp letter
reset:
  mov al, 0xfe
  out 0x64, al
end:
  hlt
  jmp end
said: .asciz "the disk cannot be read\r\n"
drive: .byte 0
.balign 4
dap: .byte 16, 0
  .word 8
  .word 0x8000, 0
lba:
  .long 0, 0
.org 0x1fe
.byte 0x55, 0xaa
