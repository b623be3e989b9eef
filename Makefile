# leakdetect
#
#   make                 the library, in build/default
#   make demo            installs what the demo needs, builds it, and runs it on a text (FILE=...)
#   make check           installs what the tests need, builds and runs all of them
#   make check-all       the same in every flavour, and lint
#   make check-unwind    compares millions of captured stacks with what libunwind says: real programs, and nasty ones
#   make check-programs  runs real programs plain and with every block on record, and compares
#   make test            the tests of one flavour, with nothing installed
#   make lint            clang-format, clang-tidy, cppcheck, shellcheck, and `make layers`
#   make layers          no file includes one that stands below it in docs/design.md
#   make bench           what it costs, measured in some twenty minutes, or with QUICK=1 in one
#   make soak            a server under load, in which lost blocks are looked for, for ten minutes
#   make examples        the programs in examples/
#   make deps            installs everything that any of these needs (Debian: apt-get)
#   make install         to PREFIX, under DESTDIR
#   make uninstall       removes what install put there
#   make clean           removes build/
#
# FLAVOUR=O0, O3-lto, clang, clang-O0, asan, tsan or unwind is another way to build it, in build/FLAVOUR.
# Tables: LD_MAX_BLOCKS, LD_MAX_FRAMES, LD_MAX_STACKS, LD_MAX_MODULES, LD_MAX_ROOTS (config.h), as in `make LD_MAX_BLOCKS=1024`.
# BLOCKMAP=my_blockmap.c is another store of live blocks (blockmap.h).
# The usual CC, CXX, CFLAGS, CXXFLAGS, CPPFLAGS, LDFLAGS, AR, LD, INSTALL, PREFIX, DESTDIR; WERROR= for lenient builds.

# Elsewhere [a-z] may be other letters, and sort has another order.
export LC_ALL = C

FLAVOUR  = default
FLAVOURS = default O0 O3-lto clang clang-O0 asan tsan
BUILD    = build/$(FLAVOUR)
BLOCKMAP = blockmap.c
# In this order, so that little is lost between what begins a cache line: rules.c comes after small data, thread.c after rules.c.
SOURCES  = leakdetect.c $(BLOCKMAP) stackmap.c path.c sampling.c unwind_common.c rules.c trail.c shortcuts.c unwind.c unwind_generic.c unwind_check.c unwind_exit.c \
           thread.c loaded.c module.c locate.c views.c demangle.c symbolize.c elf_file.c platform.c bounded_wait.c loader.c backing.c scratch.c ours.c loader_lock.c tcb.c \
           text.c pattern.c sites.c names.c skip.c kept.c suppress.c report_text.c report_json.c \
           report_folded.c report.c kernel.c maps.c pages.c stop.c restart.c tasks.c roots.c unwind_pipe.c mapped.c withheld.c collapse.c snapshot.c interior.c reach.c walk.c gaps.c check.c forking.c

PREFIX     = /usr/local
prefix     = $(PREFIX)
libdir     = $(prefix)/lib
includedir = $(prefix)/include
bindir     = $(prefix)/bin
mandir     = $(prefix)/share/man
VERSION    = 0.1.0

CFLAGS   ?= -O2 -g
CXXFLAGS ?= $(CFLAGS)
WERROR   ?= -Werror
WARNINGS  = -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wundef $(WERROR)
INSTALL  ?= install
OBJCOPY  ?= objcopy
SIZE     ?= size
FILE      = /usr/share/common-licenses/GPL-3

# --- Flavours: what each adds to the flags, and how much work its stress tests do (per cent) -------------

flags.unwind   = -DLD_CHECK_UNWIND=1
flags.O0       = -O0
flags.O3-lto   = -O3 -flto=auto
flags.clang-O0 = -O0
flags.asan     = -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -DLD_BACKING_LIBC=1
# gcc's run-time library for threads crashes when a thread ends that has used libunwind; clang's does not.
flags.tsan     = -O1 -fsanitize=thread -DLD_BACKING_LIBC=1
scale.unwind   = 20
scale.O0       = 30
scale.O3-lto   = 30
scale.clang    = 50
scale.clang-O0 = 30
scale.asan     = 10
scale.tsan     = 5

ifneq ($(filter clang% tsan,$(FLAVOUR)),)
override CC  = clang
override CXX = clang++
endif

# What config.h has, if it was given to make, but for LD_OVERRIDE, which is set below.  The environment does not count:
# names that begin so are the dynamic linker's there.  (The dot is a #, with which some makes would begin a comment.)
CONFIG := $(filter-out LD_OVERRIDE,$(shell sed -n 's/^.ifndef \(LD_.*\)/\1/p' $(dir $(firstword $(MAKEFILE_LIST)))config.h))
CONFIG_FLAGS = $(foreach name,$(CONFIG),$(if $(filter-out undefined environment,$(origin $(name))),-D$(name)=$($(name))))

# What goes into the library.  libbacktrace comes with gcc, in a folder of its own, where clang looks too; libiberty with
# binutils, on Debian as libiberty-dev.
INSIDE := $(foreach name,libbacktrace.a libiberty.a,$(shell $(CC) -print-file-name=$(name)))

FLAGS      = $(CONFIG_FLAGS) $(flags.$(FLAVOUR))
C_FLAGS    = -std=c11 -fasynchronous-unwind-tables -fexceptions $(WARNINGS) -I. $(CPPFLAGS) $(CFLAGS) $(FLAGS)
# Two words that lie together are quicker written one by one than gathered in a vector first, and a walk needs them apart.
ALL_CFLAGS = -fPIC -fvisibility=hidden -ffunction-sections -fno-tree-slp-vectorize $(C_FLAGS)
OBJECTS    = $(patsubst %.c,$(BUILD)/%.o,$(notdir $(SOURCES)))
HEAP       = $(if $(findstring LD_BACKING_LIBC=1,$(CPPFLAGS) $(CFLAGS) $(FLAGS)),,-ljemalloc_pic)
LIBRARY    = $(addprefix $(BUILD)/libleakdetect,_core.a .a _unwind.a _unwind.so)

# What makes the library the malloc of a whole program (override.ld), and the command.  The library to be preloaded lies
# where `-lleakdetect_malloc` does not find it, or linkers would prefer it to the archive.  Not with a sanitizer, whose
# malloc comes first.
WHOLE_SOURCES = whole.c suppress_file.c lsan.c heap_pages.c sandbox.c sigmask.c sigstack.c helper.c destination.c given.c options.c
WHOLE_OBJECTS = $(filter-out $(addprefix $(BUILD)/,leakdetect.o backing.o ours.o),$(OBJECTS)) \
                $(addprefix $(BUILD)/whole/,leakdetect.o ours.o $(WHOLE_SOURCES:.c=.o))
PRELOAD       = $(BUILD)/lib/leakdetect/libleakdetect_malloc.so
COMMAND       = $(BUILD)/bin/leakdetect
WHOLE         = $(if $(HEAP),$(addprefix $(BUILD)/libleakdetect_malloc,_core.a .a))

all: $(LIBRARY) $(if $(HEAP),$(WHOLE) $(PRELOAD) $(COMMAND))

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

# --- The library --------------------------------------------------------------------------------------
#
# libleakdetect_core.a is one object, with libbacktrace and libiberty inside, in which only ld_* is visible.  libleakdetect.a
# is a linker script that brings along what it stands on, so that -lleakdetect is all a program needs.

$(BUILD)/%.o: %.c $(BUILD)/flags
	$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/$(notdir $(BLOCKMAP:.c=.o)): $(BLOCKMAP) $(BUILD)/flags
	$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

ifeq ($(findstring -flto,$(CFLAGS) $(FLAGS)),)
MERGE = $(LD) -r
else ifneq ($(findstring clang,$(CC)),)
MERGE = $(CC) $(ALL_CFLAGS) -r -nostdlib -fuse-ld=lld
else
MERGE = $(CC) $(ALL_CFLAGS) -r -nostdlib -flinker-output=nolto-rel
endif

$(BUILD)/libleakdetect_core.a: $(OBJECTS)
	$(MERGE) -o $(BUILD)/libleakdetect.o $(OBJECTS) $(INSIDE)
	$(OBJCOPY) --wildcard --keep-global-symbol='ld_*' $(BUILD)/libleakdetect.o
	rm -f $@
	$(AR) rcs $@ $(BUILD)/libleakdetect.o
	@$(SIZE) $(BUILD)/libleakdetect.o

# libunwind.a cannot go into a PIE, and libunwind.so exports the _Unwind_* functions that C++ exceptions and pthread_cancel
# need from libgcc, so libgcc comes first.  Which of the two the linker finds depends on -static.
$(BUILD)/libleakdetect_unwind.so: $(BUILD)/flags
	echo '/* GNU ld script: the unwinders, shared */ INPUT(-lgcc_s -lunwind)' >$@

$(BUILD)/libleakdetect_unwind.a: $(BUILD)/flags
	echo '/* GNU ld script: the unwinders, static */ INPUT(-lgcc_eh -lunwind -llzma)' >$@

$(BUILD)/libleakdetect.a: $(BUILD)/flags
	echo '/* GNU ld script */ INPUT(-lleakdetect_core $(HEAP) -lleakdetect_unwind -lm)' >$@

# --- The malloc of a whole program ---------------------------------------------------------------------
#
# jemalloc is inside, every name of it with ldheap_ before it (backing_private.h), and without its C++ operators
# (operators.c).  Its pages it has from heap_pages.c.

JEMALLOC := $(shell $(CC) -print-file-name=libjemalloc_pic.a)

# The names are in this file.
$(BUILD)/whole/heap.o: $(JEMALLOC) $(BUILD)/flags Makefile
	@mkdir -p $(@D)
	{ nm --defined-only --extern-only --format=posix $< | awk 'NF > 1 { print $$1, "ldheap_" $$1 }' && \
	    printf '%s\n' 'clock_gettime ldheap_clock_gettime' 'madvise ldheap_madvise' 'mmap ldheap_mmap' 'munmap ldheap_munmap' \
	    'pthread_cond_init ldheap_pthread_cond_init' 'sbrk ldheap_sbrk'; } | sort -u >$(@:.o=.names)
	$(OBJCOPY) --redefine-syms=$(@:.o=.names) $< $(@:.o=.a)
	$(AR) d $(@:.o=.a) jemalloc_cpp.pic.o
	$(LD) -r -o $@ --whole-archive $(@:.o=.a)

$(BUILD)/whole/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -DLD_OVERRIDE=1 -MMD -MP -c -o $@ $<

# The names to show, beside the library's own: those that override.ld gives.  They are weak, so that a program that brings
# a malloc along all the same, as with a static jemalloc of its own, links and runs on that one.
$(BUILD)/whole/names: override.ld
	@mkdir -p $(@D)
	awk '/;$$/ { if ($$2 != "=" || $$3 !~ /^ld_/) exit 1; print $$1 }' $< >$@.part
	mv $@.part $@

$(BUILD)/libleakdetect_malloc_core.a: $(WHOLE_OBJECTS) $(BUILD)/whole/knobs.o $(BUILD)/whole/heap.o $(BUILD)/whole/names override.ld
	$(MERGE) -o $(BUILD)/whole/libleakdetect_malloc.o override.ld $(WHOLE_OBJECTS) $(BUILD)/whole/heap.o $(INSIDE)
	$(OBJCOPY) --wildcard --keep-global-symbol='ld_*' --keep-global-symbols=$(BUILD)/whole/names \
	    --weaken-symbols=$(BUILD)/whole/names $(BUILD)/whole/libleakdetect_malloc.o
	$(MERGE) -o $(BUILD)/whole/libleakdetect_knobs.o $(BUILD)/whole/knobs.o
	rm -f $@
	$(AR) rcs $@ $(BUILD)/whole/libleakdetect_malloc.o $(BUILD)/whole/libleakdetect_knobs.o

# The linker must take it even for a program that calls malloc only by way of libraries, one of which may have it too.
$(BUILD)/libleakdetect_malloc.a: $(BUILD)/flags
	echo '/* GNU ld script */ EXTERN(ld_init) INPUT(-lleakdetect_malloc_core -lleakdetect_unwind -lm)' >$@

# The preload has operators, dlopen and dl_iterate_phdr, too.  Calls of any of these names go to the program's, should it have one; all others
# stay inside.
PRELOAD_OBJECTS = $(addprefix $(BUILD)/whole/,operators.o deepbind.o iterate_phdr.o)
$(PRELOAD_OBJECTS): ALL_CFLAGS += -fno-lto -fno-plt

$(PRELOAD): $(BUILD)/libleakdetect_malloc_core.a $(PRELOAD_OBJECTS) operators.ld
	@mkdir -p $(@D)
	{ echo '{'; sed 's/$$/;/' $(BUILD)/whole/names; echo '_Zn*; _Zd*; dlopen; dl_iterate_phdr;'; echo '};'; } >$(BUILD)/whole/names.list
	$(CC) -shared -o $@ operators.ld $(BUILD)/whole/libleakdetect_malloc.o $(PRELOAD_OBJECTS) $(LDFLAGS) -Wl,-soname,$(@F) -Wl,-z,now,-z,defs \
	    -Wl,--dynamic-list=$(BUILD)/whole/names.list -lgcc_s -lunwind -lm

$(COMMAND): $(BUILD)/whole/run.o $(BUILD)/whole/options.o
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(FLAGS) -o $@ $^ $(LDFLAGS)

$(BUILD)/whole/run.o: tools/run.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(CC) $(C_FLAGS) -DVERSION='"$(VERSION)"' -MMD -MP -c -o $@ $<

$(BUILD)/whole/options_md: tools/options_md.c options.c options.h options.def
	@mkdir -p $(@D)
	$(CC) $(C_FLAGS) -o $@ tools/options_md.c options.c

docs/options.md: $(BUILD)/whole/options_md
	$< >$@

# Changes whenever anything that went into the objects does.
STAMP = $(CC) $(ALL_CFLAGS) $(BLOCKMAP) $(HEAP) $(VERSION)
$(BUILD)/flags: FORCE
	@mkdir -p $(BUILD)
	@echo '$(subst ','\'',$(STAMP))' | cmp -s - $@ || echo '$(subst ','\'',$(STAMP))' >$@

-include $(OBJECTS:.o=.d) $(wildcard $(BUILD)/whole/*.d)

# A path in leakdetect.pc, where a space has a backslash before it; for sed, which wants two.
space   := $(subst x,,x x)
PC_PATH  = $(subst $(space),\\ ,$(1))

# Where the command looks for it, beside itself (tools/run.c).
pkglibdir = $(prefix)/lib/leakdetect

install: all
	$(INSTALL) -d '$(DESTDIR)$(libdir)/pkgconfig' '$(DESTDIR)$(includedir)'
	$(INSTALL) -m 644 $(LIBRARY) $(WHOLE) '$(DESTDIR)$(libdir)'
	for name in leakdetect $(if $(WHOLE),leakdetect_malloc); do \
	    sed -e 's|@prefix@|$(call PC_PATH,$(prefix))|' -e 's|@libdir@|$(call PC_PATH,$(libdir))|' \
	        -e 's|@includedir@|$(call PC_PATH,$(includedir))|' -e 's|@version@|$(VERSION)|' -e "s|@name@|$$name|" \
	        leakdetect.pc.in >'$(DESTDIR)$(libdir)/pkgconfig/'$$name.pc && \
	    chmod 644 '$(DESTDIR)$(libdir)/pkgconfig/'$$name.pc || exit 1; \
	done
	$(INSTALL) -m 644 leakdetect.h '$(DESTDIR)$(includedir)'
ifneq ($(WHOLE),)
	$(INSTALL) -d '$(DESTDIR)$(pkglibdir)' '$(DESTDIR)$(bindir)' '$(DESTDIR)$(mandir)/man1'
	$(INSTALL) -m 644 $(PRELOAD) '$(DESTDIR)$(pkglibdir)'
	$(INSTALL) $(COMMAND) '$(DESTDIR)$(bindir)'
	$(INSTALL) -m 644 docs/leakdetect.1 '$(DESTDIR)$(mandir)/man1'
endif

uninstall:
	cd '$(DESTDIR)$(libdir)' && rm -f $(notdir $(LIBRARY) $(WHOLE)) pkgconfig/leakdetect.pc pkgconfig/leakdetect_malloc.pc
	rm -f '$(DESTDIR)$(includedir)/leakdetect.h' '$(DESTDIR)$(bindir)/leakdetect' '$(DESTDIR)$(mandir)/man1/leakdetect.1'
	rm -rf '$(DESTDIR)$(pkglibdir)'

clean:
	rm -rf build

# --- Examples and the demo -----------------------------------------------------------------------------

EXAMPLES = $(patsubst examples/%,$(BUILD)/examples/%,$(basename $(wildcard examples/*.c examples/*.cc)))
examples: $(EXAMPLES)

$(BUILD)/examples/sqlite: LIBS = -lsqlite3
# A report that names every function as it stands in the source, with nothing inlined into main, whatever the compiler.
$(BUILD)/examples/%: PLAIN = -Og -fno-inline -fno-optimize-sibling-calls
$(BUILD)/examples/%: examples/%.c leakdetect.h $(LIBRARY)
	@mkdir -p $(@D)
	$(CC) -std=gnu11 $(WARNINGS) -I. $(CPPFLAGS) $(CFLAGS) $(FLAGS) $(PLAIN) -o $@ $< $(LDFLAGS) -L$(BUILD) -lleakdetect $(LIBS)

# In C++: programs that know nothing of the library.
$(BUILD)/examples/%: examples/%.cc
	@mkdir -p $(@D)
	$(CXX) -std=c++17 $(CXX_WARNINGS) $(CPPFLAGS) $(CXXFLAGS) $(FLAGS) -o $@ $< $(LDFLAGS)

demo:
	@sh test/deps.sh $(DEPS_BUILD)
	@$(MAKE) --no-print-directory $(BUILD)/examples/wordcount
	$(BUILD)/examples/wordcount '$(subst ','\'',$(FILE))'

bench:
	@sh test/deps.sh $(DEPS_BENCH)
	@$(MAKE) --no-print-directory all
	BUILD='$(BUILD)' CC='$(CC)' sh bench/run.sh $(if $(QUICK),--quick)

# --- Tests ---------------------------------------------------------------------------------------------

DEPS_BUILD = libjemalloc-dev libunwind-dev libiberty-dev
DEPS_TEST  = $(DEPS_BUILD) libcmocka-dev libsqlite3-dev g++ clang lld mold binutils pkg-config jq python3 libxml2 ccache valgrind
DEPS_BENCH = $(DEPS_BUILD) python3 perl sqlite3 nodejs g++ valgrind gnuplot-nox heaptrack libgoogle-perftools4 linux-perf
DEPS_UNWIND = $(DEPS_TEST) python3 perl sqlite3 git xz-utils nodejs luajit ruby
DEPS_ALL   = $(sort $(DEPS_TEST) $(DEPS_UNWIND) $(DEPS_PROGRAMS)) libclang-rt-dev cppcheck clang-format clang-tidy shellcheck \
             gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user gcc-arm-linux-gnueabihf libc6-dev-armhf-cross

deps:
	@sh test/deps.sh $(DEPS_ALL)

# Programs are test/test_*.c and .cc, and checks of the library from outside, in sh.  These are about what no flavour
# changes, and some build the library themselves, with flags of their own: they run once, in the default flavour.
PROGRAMS = $(patsubst test/%,$(BUILD)/test/%,$(basename $(wildcard test/test_*.c test/test_*.cc)))
CHECKS   = $(if $(filter default,$(FLAVOUR)),$(wildcard test/test_*.sh))

CXX_WARNINGS = $(filter-out -Wconversion,$(WARNINGS))
export BUILD CC CXX CFLAGS CXXFLAGS CPPFLAGS LDFLAGS C_FLAGS CXX_WARNINGS FLAGS SOURCES BLOCKMAP INSIDE HEAP MAKE
TEST_ENVIRONMENT = LEAKDETECT_TEST_SCALE=$${LEAKDETECT_TEST_SCALE:-$(or $(scale.$(FLAVOUR)),100)} \
    ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 TSAN_OPTIONS=allocator_may_return_null=1:report_signal_unsafe=0 \
    UBSAN_OPTIONS=print_stacktrace=1

$(BUILD)/test/%: test/%.c $(wildcard *.c *.h *.def test/*.h) test/linear_blockmap.c test/build.sh $(LIBRARY) $(WHOLE)
	sh test/build.sh $< $@

$(BUILD)/test/%: test/%.cc $(wildcard *.c *.h *.def test/*.h) test/build.sh $(LIBRARY)
	sh test/build.sh $< $@

test-programs: $(PROGRAMS)

test: all $(PROGRAMS) $(EXAMPLES)
	@$(TEST_ENVIRONMENT) sh test/run.sh $(BUILD)/result $(PROGRAMS) $(CHECKS)

JOBS = -j$$(nproc)
check:
	@sh test/deps.sh $(DEPS_TEST)
	@$(MAKE) --no-print-directory $(JOBS) all test-programs examples
	@$(MAKE) --no-print-directory test

# In the checking build, which is another flavour.
UNWIND_PROGRAMS = $(addprefix $(BUILD)/test/test_,frames fork jit made_stacks reentrancy stacks threads traps unload unload_whole walk)
UNWIND_CHECKS   = $(addprefix test/unwind/,shapes.sh programs.sh total.sh)
test-unwind: all $(UNWIND_PROGRAMS)
	@rm -f $(BUILD)/counts && truncate -s 4096 $(BUILD)/counts
	@$(TEST_ENVIRONMENT) LEAKDETECT_CHECK_COUNTS=$(abspath $(BUILD)/counts) UNWIND_CAPTURES=20000000 \
	    LEAKDETECT_TEST_DEADLINE=900 sh test/run.sh $(BUILD)/result $(UNWIND_PROGRAMS) $(UNWIND_CHECKS)

check-unwind:
	@sh test/deps.sh $(DEPS_UNWIND)
	@$(MAKE) --no-print-directory $(JOBS) FLAVOUR=unwind test-unwind

DEPS_PROGRAMS = python3 perl sqlite3 nodejs git gcc g++ make cmake xz-utils redis-server redis-tools nginx-light apache2-utils \
    postgresql imagemagick jq faketime ffmpeg
check-programs:
	@sh test/deps.sh $(DEPS_BUILD) $(DEPS_PROGRAMS)
	@$(MAKE) --no-print-directory $(JOBS) all
	@mkdir -p build/programs
	@LEAKDETECT_TEST_DEADLINE=600 sh test/run.sh build/programs/result $(addprefix test/programs/,languages.sh tools.sh servers.sh)

# A server under load for SOAK_SECONDS, in which lost blocks are looked for every 100 ms during half of that time.
SOAK_SECONDS = 600
soak:
	@sh test/deps.sh $(DEPS_BUILD)
	@$(MAKE) --no-print-directory $(JOBS) all
	$(CC) -std=gnu11 -O2 -g -I. -o $(BUILD)/soak test/soak/soak.c -L$(BUILD) -lleakdetect_malloc -lpthread
	LEAKDETECT_OPTIONS=report_at_exit=none $(BUILD)/soak $(SOAK_SECONDS) judge

check-all: deps
	@sh test/check_all.sh $(FLAVOURS)

# --- Lint ----------------------------------------------------------------------------------------------

ALL_C   = $(wildcard *.c *.h tools/*.c bench/*.c bench/*.h examples/*.c test/*.c test/*.h test/*/*.c)
ALL_CC  = $(wildcard bench/*.cc examples/*.cc test/*.cc test/*/*.cc)
ALL_SH  = $(wildcard test/*.sh test/*/*.sh bench/*.sh) .ci/run

lint: layers
	clang-format --dry-run -Werror $(ALL_C) $(ALL_CC)
	# One by one: with several files clang-tidy 14 takes each va_list but the first for uninitialised.
	printf '%s\n' $(SOURCES) | xargs -P $$(nproc) -I FILE clang-tidy --quiet FILE -- -std=c11 -I.
	printf '%s\n' $(WHOLE_SOURCES) knobs.c operators.c deepbind.c iterate_phdr.c $(wildcard tools/*.c) | \
	    xargs -P $$(nproc) -I FILE clang-tidy --quiet FILE -- -std=c11 -I. -DLD_OVERRIDE=1 -DVERSION='""'
	cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 -I. $(SOURCES)
	cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 -I. -DLD_OVERRIDE=1 \
	    $(WHOLE_SOURCES) knobs.c operators.c deepbind.c iterate_phdr.c $(wildcard tools/*.c)
	shellcheck --severity=warning $(ALL_SH)

layers:
	@sh test/layers.sh

.PHONY: all help install uninstall clean examples demo bench deps test-programs test test-unwind check check-unwind check-programs soak \
        check-all lint layers FORCE
