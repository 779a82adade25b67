import ApusCABI
import ApusRuntime
import ApusSupport

// Strings, arrays and maps over the C border.

/// `apus_string_create` of apus.h.
@_cdecl("apus_string_create")
public func apusStringCreate(
    _ bytes: UnsafePointer<CChar>?, _ length: Int, _ out: UnsafeMutablePointer<UnsafeMutableRawPointer?>?
) -> Int32 {
    status {
        let out = try require(out, "out")
        let n = try count(length, bytes, "bytes")
        let raw = UnsafeRawBufferPointer(start: bytes, count: n)
        guard let value = String(validating: raw, as: UTF8.self) else {
            throw ApusError("RT093", "these bytes are no UTF-8")
        }
        out.pointee = owned(StringObject(value))
    }
}

/// `apus_string_data` of apus.h.
@_cdecl("apus_string_data")
public func apusStringData(
    _ string: UnsafeMutableRawPointer?, _ bytes: UnsafeMutablePointer<UnsafePointer<CChar>?>?,
    _ length: UnsafeMutablePointer<Int>?
) -> Int32 {
    status {
        let string = try object(string, "string", as: StringObject.self)
        try require(bytes, "bytes").pointee = string.utf8
        length?.pointee = string.utf8Count
    }
}

/// `apus_array_create` of apus.h.
@_cdecl("apus_array_create")
public func apusArrayCreate(
    _ elements: UnsafePointer<ApusAny>?, _ number: Int64,
    _ out: UnsafeMutablePointer<UnsafeMutableRawPointer?>?
) -> Int32 {
    status {
        let out = try require(out, "out")
        let n = try count(number, elements, "elements")
        let buffer = UnsafeBufferPointer(start: elements, count: n)
        out.pointee = owned(ArrayObject(try buffer.map { try AnyValue(borrowing: $0) }))
    }
}

/// `apus_array_size` of apus.h.
@_cdecl("apus_array_size")
public func apusArraySize(_ array: UnsafeMutableRawPointer?, _ out: UnsafeMutablePointer<Int64>?) -> Int32 {
    status { try require(out, "out").pointee = Int64(try object(array, "array", as: ArrayObject.self).count) }
}

/// `apus_array_get` of apus.h.
@_cdecl("apus_array_get")
public func apusArrayGet(
    _ array: UnsafeMutableRawPointer?, _ index: Int64, _ out: UnsafeMutablePointer<ApusAny>?
) -> Int32 {
    status {
        let out = try require(out, "out")
        out.pointee = try object(array, "array", as: ArrayObject.self).element(Int(index)).toOwnedABI()
    }
}

/// `apus_array_set` of apus.h.
@_cdecl("apus_array_set")
public func apusArraySet(
    _ array: UnsafeMutablePointer<UnsafeMutableRawPointer?>?, _ index: Int64, _ value: UnsafePointer<ApusAny>?
) -> Int32 {
    status {
        let place = try require(array, "array")
        let value = try AnyValue(borrowing: require(value, "value").pointee)
        let changed = try object(place.pointee, "array", as: ArrayObject.self).setting(Int(index), to: value)
        replace(place, with: changed)
    }
}

/// Releases what `place` holds and puts `object` there.
private func replace(_ place: UnsafeMutablePointer<UnsafeMutableRawPointer?>, with object: Object) {
    let former = place.pointee
    place.pointee = owned(object)
    if let former { Unmanaged<Object>.fromOpaque(former).release() }
}

/// `apus_map_create` of apus.h.
@_cdecl("apus_map_create")
public func apusMapCreate(
    _ pairs: UnsafePointer<ApusAny>?, _ number: Int64, _ out: UnsafeMutablePointer<UnsafeMutableRawPointer?>?
) -> Int32 {
    status {
        let out = try require(out, "out")
        let n = try count(number, pairs, "keys_and_values")
        guard n < 1 << 32 else { throw ApusError("RT092", "an impossible count", actual: "\(n)") }
        let list = try (0..<n).map { i -> (AnyValue, AnyValue) in
            let pairs = try require(pairs, "keys_and_values")
            return (try AnyValue(borrowing: pairs[2 * i]), try AnyValue(borrowing: pairs[2 * i + 1]))
        }
        out.pointee = owned(MapObject(list))
    }
}

/// `apus_map_size` of apus.h.
@_cdecl("apus_map_size")
public func apusMapSize(_ map: UnsafeMutableRawPointer?, _ out: UnsafeMutablePointer<Int64>?) -> Int32 {
    status { try require(out, "out").pointee = Int64(try object(map, "map", as: MapObject.self).count) }
}

/// `apus_map_get` of apus.h.
@_cdecl("apus_map_get")
public func apusMapGet(
    _ map: UnsafeMutableRawPointer?, _ key: UnsafePointer<ApusAny>?, _ out: UnsafeMutablePointer<ApusAny>?
) -> Int32 {
    status {
        let out = try require(out, "out")
        let key = try AnyValue(borrowing: require(key, "key").pointee)
        guard let value = try object(map, "map", as: MapObject.self)[key] else {
            throw ApusError("RT031", "no such key", actual: "\(key)")
        }
        out.pointee = value.toOwnedABI()
    }
}

/// `apus_map_set` of apus.h.
@_cdecl("apus_map_set")
public func apusMapSet(
    _ map: UnsafeMutablePointer<UnsafeMutableRawPointer?>?, _ key: UnsafePointer<ApusAny>?,
    _ value: UnsafePointer<ApusAny>?
) -> Int32 {
    status {
        let place = try require(map, "map")
        let key = try AnyValue(borrowing: require(key, "key").pointee)
        let value = try AnyValue(borrowing: require(value, "value").pointee)
        replace(place, with: try object(place.pointee, "map", as: MapObject.self).setting(key, to: value))
    }
}

/// `apus_map_items` of apus.h.
@_cdecl("apus_map_items")
public func apusMapItems(
    _ map: UnsafeMutableRawPointer?, _ out: UnsafeMutablePointer<UnsafeMutableRawPointer?>?
) -> Int32 {
    status {
        let out = try require(out, "out")
        let map = try object(map, "map", as: MapObject.self)
        out.pointee = owned(ArrayObject(map.entries.flatMap { [$0.key, $0.value] }))
    }
}
