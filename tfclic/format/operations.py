"""TensorFlow's operations that a model's graph may consist of.

They compute, and keep what they have in variables and memory. None opens a file or a connection,
starts a process, calls Python or prints; `tfclic.format.graphs` says where the few may stand that
store variables and read them. What no codec needs is left out, however harmless.
"""

_ARITHMETIC = """
Abs Acos Acosh Add AddN AddV2 Asin Asinh Atan Atan2 Atanh Ceil ClipByValue Cos Cosh Cumprod Cumsum
CumulativeLogsumexp Digamma Div DivNoNan Erf Erfc Erfinv Exp Expm1 Floor FloorDiv FloorMod Igamma
Igammac Inv InvGrad IsFinite IsInf IsNan L2Loss Lgamma Log Log1p Maximum Minimum Mod Mul MulNoNan
Ndtri Neg NextAfter Pow RealDiv Reciprocal ReciprocalGrad Rint Round Rsqrt RsqrtGrad Sigmoid
SigmoidGrad Sign Sin Sinh Sqrt SqrtGrad Square SquaredDifference Sub Tan Tanh TanhGrad TruncateDiv
TruncateMod Xdivy Xlog1py Xlogy
"""
_LOGIC = """
All Any ApproximateEqual ArgMax ArgMin BitwiseAnd BitwiseOr BitwiseXor Equal Greater GreaterEqual
Invert LeftShift Less LessEqual LogicalAnd LogicalNot LogicalOr NotEqual PopulationCount
RightShift Select SelectV2 Where
"""
_ARRAYS = """
BatchToSpace BatchToSpaceND Bincount Bitcast BroadcastArgs BroadcastGradientArgs BroadcastTo
Bucketize Cast CheckNumerics Concat ConcatOffset ConcatV2 Const DeepCopy DenseBincount Diag DiagPart
DynamicPartition DynamicStitch Empty EnsureShape ExpandDims ExtractImagePatches Fill Gather GatherNd
GatherV2 Identity IdentityN InplaceUpdate InvertPermutation LinSpace LowerBound MatrixBandPart
MatrixDiagPartV3 MatrixDiagV3 MirrorPad MirrorPadGrad NoOp OneHot OnesLike Pack Pad PadV2
ParallelConcat ParallelDynamicStitch Placeholder PlaceholderWithDefault PreventGradient Range Rank
Reshape Reverse ReverseSequence ReverseV2 Roll ScatterNd SegmentMax SegmentMean SegmentMin
SegmentProd SegmentSum Shape ShapeN Size Slice Snapshot SpaceToBatch SpaceToBatchND Split SplitV
Squeeze StopGradient StridedSlice StridedSliceGrad TensorScatterAdd TensorScatterMax
TensorScatterMin TensorScatterSub TensorScatterUpdate TensorStridedSliceUpdate Tile TopK TopKV2
Transpose Unique UniqueV2 UniqueWithCounts Unpack UnravelIndex UnsortedSegmentMax UnsortedSegmentMin
UnsortedSegmentProd UnsortedSegmentSum UpperBound ZerosLike
"""
_REDUCTIONS = "EuclideanNorm Max Mean Min Prod Sum"
_PRODUCTS = "BatchMatMul BatchMatMulV2 BatchMatMulV3 Cross Einsum MatMul"
_NETWORKS = """
AvgPool AvgPoolGrad BiasAdd BiasAddGrad BiasAddV1 Conv2D Conv2DBackpropFilter Conv2DBackpropInput
DepthToSpace DepthwiseConv2dNative DepthwiseConv2dNativeBackpropFilter
DepthwiseConv2dNativeBackpropInput Dequantize Elu EluGrad FakeQuantWithMinMaxVars FusedBatchNormV3
LeakyRelu LeakyReluGrad LogSoftmax MaxPool MaxPoolGrad MaxPoolV2 QuantizeAndDequantizeV4
QuantizeV2 QuantizedConv2DPerChannel QuantizedConv2DWithBias Relu Relu6 Relu6Grad ReluGrad
Requantize RequantizePerChannel Selu SeluGrad Softmax SoftmaxCrossEntropyWithLogits Softplus
SoftplusGrad Softsign SoftsignGrad SpaceToDepth SparseSoftmaxCrossEntropyWithLogits
"""
_RANDOM = """
StatelessRandomGetAlg StatelessRandomGetKeyCounter StatelessRandomGetKeyCounterAlg
StatelessRandomNormal StatelessRandomNormalV2 StatelessRandomUniform StatelessRandomUniformFullInt
StatelessRandomUniformFullIntV2 StatelessRandomUniformInt StatelessRandomUniformIntV2
StatelessRandomUniformV2 StatelessTruncatedNormal StatelessTruncatedNormalV2
"""
_STRINGS = """
AsString DecodeBase64 DecodeRaw EncodeBase64 Fingerprint ReduceJoin RegexFullMatch RegexReplace
StaticRegexFullMatch ShardedFilename StaticRegexReplace StringFormat StringJoin StringLength
StringLower StringSplit StringSplitV2 StringStrip StringToHashBucketFast StringToNumber
StringUpper Substr UnicodeTranscode
"""
_IMAGES = """
AdjustContrastv2 AdjustHue AdjustSaturation CropAndResize DecodeAndCropJpeg DecodeBmp DecodeGif
DecodeImage DecodeJpeg DecodePng EncodeJpeg EncodeJpegVariableQuality EncodePng ExtractJpegShape
HSVToRGB RGBToHSV ResizeArea ResizeBicubic ResizeBilinear ResizeBilinearGrad ResizeNearestNeighbor
ResizeNearestNeighborGrad ScaleAndTranslate
"""
_VARIABLES = """
AssignAddVariableOp AssignSubVariableOp AssignVariableOp DestroyResourceOp DisableCopyOnRead
ReadVariableOp ResourceGather ResourceGatherNd ResourceScatterAdd ResourceScatterNdAdd
ResourceScatterNdUpdate ResourceScatterUpdate ResourceStridedSliceAssign VarHandleOp
VarIsInitializedOp VariableShape
"""
_LISTS = """
EmptyTensorList TensorListConcatV2 TensorListElementShape TensorListFromTensor TensorListGather
TensorListGetItem TensorListLength TensorListPopBack TensorListPushBack TensorListPushBackBatch
TensorListReserve TensorListResize TensorListScatter TensorListScatterIntoExistingList
TensorListScatterV2 TensorListSetItem TensorListSplit TensorListStack
"""
# to go over the elements of a batch, whatever befalls one of them
_DATASETS = "IgnoreErrorsDataset OptionsDataset RangeDataset TensorDataset TensorSliceDataset"
_CHECKS = "Assert"
_COMPRESSION = """
CreateRangeDecoder CreateRangeEncoder EntropyDecodeChannel EntropyDecodeFinalize
EntropyDecodeIndex EntropyEncodeChannel EntropyEncodeFinalize EntropyEncodeIndex PmfToQuantizedCdf
RunLengthDecode RunLengthEncode RunLengthGammaDecode RunLengthGammaEncode StochasticRound
"""

# They call functions of the graph.
CALLING = frozenset(
    """
    Case If MapDataset PartitionedCall ReduceDataset StatefulPartitionedCall StatelessCase
    StatelessIf StatelessWhile While
    """.split()
)
# They are in every SavedModel, to store its variables and to read them.
STORING = frozenset(["MergeV2Checkpoints", "SaveV2"])
RESTORING = frozenset(["RestoreV2"])
COMPUTING = frozenset(
    " ".join(
        [
            *(_ARITHMETIC, _LOGIC, _ARRAYS, _REDUCTIONS, _PRODUCTS, _NETWORKS, _RANDOM, _STRINGS),
            *(_IMAGES, _VARIABLES, _LISTS, _DATASETS, _CHECKS, _COMPRESSION),
        ]
    ).split()
)
