#include "warping.hpp"

#include "hmm/dtw.hpp"
#include "hmm/frame_cost.hpp"
#include "hmm/soft_dtw.hpp"

namespace hmm {

HMM_DEFINE_KERNELS(WarpingKernels, warping_kernels) = {
    {&dtw<float>, &soft_dtw<float>, &soft_dtw_backward<float>, &soft_dtw_message_size<float>,
     &soft_dtw_frames<float>, &frame_cost<float>},
    {&dtw<double>, &soft_dtw<double>, &soft_dtw_backward<double>, &soft_dtw_message_size<double>,
     &soft_dtw_frames<double>, &frame_cost<double>}};

}  // namespace hmm
