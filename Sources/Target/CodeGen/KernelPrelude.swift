import ApusTIR

/// The checks of a kernel's arguments that do not depend on the kernel, once a module, in both languages that
/// the code generators write. Layouts are those of `apus.h`.
enum KernelPrelude {
    /// What `apus_check_tensor` returns besides 0, with the error code and the text that goes with it.
    static let failures: [(code: String, text: String)] = ArgumentFailure.allCases.map {
        (code: $0.code, text: $0.text)
    }

    static let source = """
        #include <stddef.h>
        #include <stdint.h>
        #include <string.h>
        #include <math.h>
        typedef struct { int32_t device_type, device_id; } DLDevice;
        typedef struct { uint8_t code, bits; uint16_t lanes; } DLDataType;
        typedef struct { void *data; DLDevice device; int32_t ndim; DLDataType dtype;
            int64_t *shape, *strides;
            uint64_t byte_offset; } DLTensor;
        typedef struct { int32_t type_index; uint32_t pad;
            union { int64_t i; double f; void *p; const char *s;
            DLTensor *tensor; } v; } ApusAny;
        typedef int32_t (*ApusTask)(int32_t, int32_t, void *);
        typedef struct { int32_t (*parallel_launch)(ApusTask, void *, int32_t);
            void *(*alloc_workspace)(uint64_t);
            void (*free_workspace)(void *); void (*set_error)(const char *, const char *);
            int32_t (*call_packed)(const char *, const ApusAny *, int32_t, int32_t, ApusAny *); } ApusBackendAPI;
        static inline int32_t apus_check_tensor(const ApusAny *arg, int32_t rank, uint32_t dtype,
                                                const int64_t *shape, int32_t strided) {
            if (arg->type_index != 7 || !arg->v.tensor) return 1;
            const DLTensor *t = arg->v.tensor;
            if (t->device.device_type != 1) return 2;
            uint32_t given = t->dtype.code | (uint32_t)t->dtype.bits << 8 | (uint32_t)t->dtype.lanes << 16;
            /* A bool may come as DLPack's bool, or as a byte. */
            if (given != dtype && !(dtype == 0x10101 && (given == 0x10801 || given == 0x10806))) return 3;
            if (t->ndim != rank) return 4;
            int64_t count = 1;
            for (int64_t d = rank - 1; d >= 0; d--) {
                if (shape[d] >= 0 && t->shape[d] != shape[d]) return 5;
                if (!strided && t->strides && t->shape[d] != 1 && count && t->strides[d] != count) return 6;
                count *= t->shape[d];
            }
            return !t->data && count ? 7 : 0;
        }
        static inline int64_t apus_stride(const DLTensor *t, int32_t dim) {
            if (t->strides) return t->strides[dim];
            int64_t s = 1;
            for (int64_t d = t->ndim - 1; d > dim; d--) s *= t->shape[d];
            return s;
        }

        """

    /// The same two functions as LLVM IR, without a target so that they fit every one. The table of the API
    /// is the same in both: parallel_launch, alloc_workspace, free_workspace, set_error, call_packed.
    static let ir = """
        define internal i32 @apus_check_tensor(ptr %arg, i32 %rank, i32 %dtype, ptr %shape,
                                               i32 %strided) noinline nounwind {
        entry:
          %index = load i32, ptr %arg
          %value = getelementptr i8, ptr %arg, i64 8
          %t = load ptr, ptr %value
          %istensor = icmp eq i32 %index, 7
          %nonnull = icmp ne ptr %t, null
          %ok1 = select i1 %istensor, i1 %nonnull, i1 false
          br i1 %ok1, label %device, label %done
        device:
          %pdevice = getelementptr i8, ptr %t, i64 8
          %devicetype = load i32, ptr %pdevice
          %ok2 = icmp eq i32 %devicetype, 1
          br i1 %ok2, label %type, label %done
        type:
          %pcode = getelementptr i8, ptr %t, i64 20
          %code = load i8, ptr %pcode
          %pbits = getelementptr i8, ptr %t, i64 21
          %bits = load i8, ptr %pbits
          %planes = getelementptr i8, ptr %t, i64 22
          %lanes = load i16, ptr %planes
          %code32 = zext i8 %code to i32
          %bits32 = zext i8 %bits to i32
          %lanes32 = zext i16 %lanes to i32
          %bitsat = shl i32 %bits32, 8
          %lanesat = shl i32 %lanes32, 16
          %low = or i32 %code32, %bitsat
          %given = or i32 %low, %lanesat
          %same = icmp eq i32 %given, %dtype
          %wantsbool = icmp eq i32 %dtype, 65793
          %byte = icmp eq i32 %given, 67585
          %dlbool = icmp eq i32 %given, 67590
          %either = or i1 %byte, %dlbool
          %asbool = and i1 %wantsbool, %either
          %ok3 = or i1 %same, %asbool
          br i1 %ok3, label %dims, label %done
        dims:
          %pndim = getelementptr i8, ptr %t, i64 16
          %ndim = load i32, ptr %pndim
          %ok4 = icmp eq i32 %ndim, %rank
          br i1 %ok4, label %start, label %done
        start:
          %pshape = getelementptr i8, ptr %t, i64 24
          %tshape = load ptr, ptr %pshape
          %pstrides = getelementptr i8, ptr %t, i64 32
          %tstrides = load ptr, ptr %pstrides
          %unstrided = icmp eq i32 %strided, 0
          %hasstrides = icmp ne ptr %tstrides, null
          %checkstrides = and i1 %unstrided, %hasstrides
          %rank64 = sext i32 %rank to i64
          br label %head
        head:
          %i = phi i64 [ %rank64, %start ], [ %d, %next ]
          %count = phi i64 [ 1, %start ], [ %newcount, %next ]
          %more = icmp sgt i64 %i, 0
          br i1 %more, label %dim, label %data
        dim:
          %d = add i64 %i, -1
          %pwant = getelementptr i64, ptr %shape, i64 %d
          %want = load i64, ptr %pwant
          %phave = getelementptr i64, ptr %tshape, i64 %d
          %have = load i64, ptr %phave
          %any = icmp slt i64 %want, 0
          %equal = icmp eq i64 %want, %have
          %ok5 = or i1 %any, %equal
          br i1 %ok5, label %stride, label %done
        stride:
          %notone = icmp ne i64 %have, 1
          %notempty = icmp ne i64 %count, 0
          %matters = and i1 %notone, %notempty
          %look = and i1 %matters, %checkstrides
          br i1 %look, label %look1, label %next
        look1:
          %pst = getelementptr i64, ptr %tstrides, i64 %d
          %st = load i64, ptr %pst
          %ok6 = icmp eq i64 %st, %count
          br i1 %ok6, label %next, label %done
        next:
          %newcount = mul i64 %count, %have
          br label %head
        data:
          %p = load ptr, ptr %t
          %null = icmp eq ptr %p, null
          %full = icmp ne i64 %count, 0
          %bad7 = and i1 %null, %full
          %r7 = select i1 %bad7, i32 7, i32 0
          br label %done
        done:
          %r = phi i32 [ 1, %entry ], [ 2, %device ], [ 3, %type ], [ 4, %dims ], [ 5, %dim ],
                       [ 6, %look1 ], [ %r7, %data ]
          ret i32 %r
        }
        define internal i64 @apus_stride(ptr %t, i32 %dim) noinline nounwind {
        entry:
          %pstrides = getelementptr i8, ptr %t, i64 32
          %tstrides = load ptr, ptr %pstrides
          %has = icmp ne ptr %tstrides, null
          %dim64 = sext i32 %dim to i64
          br i1 %has, label %given, label %start
        given:
          %pst = getelementptr i64, ptr %tstrides, i64 %dim64
          %st = load i64, ptr %pst
          ret i64 %st
        start:
          %pshape = getelementptr i8, ptr %t, i64 24
          %tshape = load ptr, ptr %pshape
          %pndim = getelementptr i8, ptr %t, i64 16
          %ndim = load i32, ptr %pndim
          %n = sext i32 %ndim to i64
          br label %head
        head:
          %i = phi i64 [ %n, %start ], [ %d, %body ]
          %s = phi i64 [ 1, %start ], [ %s1, %body ]
          %d = add i64 %i, -1
          %more = icmp sgt i64 %d, %dim64
          br i1 %more, label %body, label %done
        body:
          %phave = getelementptr i64, ptr %tshape, i64 %d
          %have = load i64, ptr %phave
          %s1 = mul i64 %s, %have
          br label %head
        done:
          ret i64 %s
        }

        """

    /// Reports failure `k` of an argument; `format` is the message with `%s` where the failure's text goes.
    static let irReport: String = {
        var text = ""
        var codes: [String] = []
        var texts: [String] = []
        for (i, f) in failures.enumerated() {
            for (name, value) in [("code", f.code), ("text", f.text)] {
                let type = "[\(value.utf8.count + 1) x i8]"
                text += "@apus_\(name)\(i) = private unnamed_addr constant \(type) c\"\(value)\\00\"\n"
            }
            codes.append("ptr @apus_code\(i)")
            texts.append("ptr @apus_text\(i)")
        }
        let n = failures.count
        text +=
            "@apus_codes = private unnamed_addr constant [\(n) x ptr] [\(codes.joined(separator: ", "))]\n"
        text +=
            "@apus_texts = private unnamed_addr constant [\(n) x ptr] [\(texts.joined(separator: ", "))]\n"
        return text + """
            declare i32 @snprintf(ptr, i64, ptr, ...)
            define internal void @apus_argument_error(i32 %k, ptr %format) noinline cold nounwind {
              %buffer = alloca [512 x i8]
              %i = add i32 %k, -1
              %i64 = sext i32 %i to i64
              %ptext = getelementptr ptr, ptr @apus_texts, i64 %i64
              %text = load ptr, ptr %ptext
              %pcode = getelementptr ptr, ptr @apus_codes, i64 %i64
              %code = load ptr, ptr %pcode
              %n = call i32 (ptr, i64, ptr, ...) @snprintf(ptr %buffer, i64 512, ptr %format, ptr %text)
              %api = load ptr, ptr @apus_backend_api
              %pset = getelementptr i8, ptr %api, i64 24
              %set = load ptr, ptr %pset
              call void %set(ptr %code, ptr %buffer)
              ret void
            }

            """
    }()

    static let sourceReport: String = {
        let codes = failures.map { "\"\($0.code)\"" }.joined(separator: ", ")
        let texts = failures.map { "\"\($0.text)\"" }.joined(separator: ", ")
        return """
            extern int snprintf(char *, size_t, const char *, ...);
            static void apus_argument_error(int32_t k, const char *format) {
                static const char *const codes[] = {\(codes)};
                static const char *const texts[] = {\(texts)};
                char buffer[512];
                snprintf(buffer, sizeof buffer, format, texts[k - 1]);
                apus_backend_api->set_error(codes[k - 1], buffer);
            }

            """
    }()
}
