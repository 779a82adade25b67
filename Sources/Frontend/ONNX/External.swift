import ApusSupport

/// Whether a message of the file has a tensor whose `data_location` is external, found on the level of
/// protobuf's wire format so that no weight is read.
func fileUsesExternalData(_ path: String) throws -> Bool {
    let file = try MappedFile(path)
    return withExtendedLifetime(file) { hasExternalTensor(file.bytes[...], .model, depth: 0) }
}

/// False for what is malformed: loading the model will say so.
private func hasExternalTensor(_ bytes: Slice<UnsafeRawBufferPointer>, _ message: ONNXMessage, depth: Int)
    -> Bool
{
    var at = bytes.startIndex
    func varint() -> UInt64? {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while at < bytes.endIndex, shift < 64 {
            let b = bytes[at]
            at += 1
            value |= UInt64(b & 0x7F) << shift
            if b < 0x80 { return value }
            shift += 7
        }
        return nil
    }
    while at < bytes.endIndex {
        guard let tag = varint() else { return false }
        let number = Int(tag >> 3 & 0x1FFF_FFFF)
        switch tag & 7 {
        case 0:
            guard let value = varint() else { return false }
            if message == .tensor && number == 14 && value == 1 { return true }
        case 1: at += 8
        case 5: at += 4
        case 2:
            guard let length = varint(), length <= UInt64(bytes.endIndex - at) else { return false }
            let end = at + Int(length)
            if let child = message.child(number), depth < 100,
                hasExternalTensor(bytes[at..<end], child, depth: depth + 1)
            {
                return true
            }
            at = end
        default: return false
        }
        if at > bytes.endIndex { return false }
    }
    return false
}
